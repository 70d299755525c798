"""Waiting for what another thread does: under trio and under asyncio, with courtesy towards that thread."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import sniffio

from persistence.providers.mongodb.courtesy import FIRST_LOOK, Courtesy

if TYPE_CHECKING:
    import trio

_NEVER: Final = math.inf


class Waiter(Protocol):
    """One that waits for one call. Its `result` or `error` is set before it is woken."""

    result: Any
    error: BaseException | None

    @property
    def left(self) -> bool:
        """Whether it waits no more, though nothing has come."""
        ...

    async def wait(self, deadline: float | None = None) -> Any:
        """Give the result or raise the error; `TimeoutError` after so many seconds."""
        ...

    def wake(self) -> None:
        """Called where it waits, once result or error is set."""
        ...


@attrs.frozen
class Home:
    """The event loop where calls are waited for.

    Args:
        wait: makes a waiter there.
        post: has a callback run there, called from any thread; `RuntimeError` once that loop has ended.
    """

    wait: Callable[[], Waiter]
    post: Callable[[Callable[[], None]], object]


def find_home() -> Home:
    """The event loop that runs now."""
    courtesy = Courtesy()
    if sniffio.current_async_library() != "trio":
        return Home(lambda: AsyncioWaiter(courtesy), asyncio.get_running_loop().call_soon_threadsafe)
    import trio

    return Home(lambda: TrioWaiter(courtesy), trio.lowlevel.current_trio_token().run_sync_soon)


class AsyncioWaiter:
    """A future with a timer of its own, since a cancel scope would cost as much as the way to the thread and back."""

    __slots__ = ("_courtesy", "_ends", "_future", "_interval", "_loop", "_timer", "error", "left", "result")

    def __init__(self, courtesy: Courtesy) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.left = False
        self._courtesy = courtesy
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._interval = FIRST_LOOK
        self._ends = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, deadline: float | None = None) -> Any:
        """See `Waiter`."""
        if deadline is not None:
            self._ends = self._loop.time() + deadline
        self._timer = self._loop.call_later(self._interval, self._look)
        try:
            await self._future
        except BaseException:
            self.left = True
            raise
        finally:
            self._timer.cancel()
        if self.error is not None:
            raise self.error
        return self.result

    def wake(self) -> None:
        """See `Waiter`."""
        if not self._future.done():
            self._future.set_result(None)

    def _look(self) -> None:
        if self._future.done():
            return
        now = self._loop.time()
        if now >= self._ends:
            self._future.set_exception(TimeoutError())
            return
        self._interval = self._courtesy.look(self._interval)
        self._timer = self._loop.call_later(min(self._interval, self._ends - now), self._look)


class TrioWaiter:
    """A task that is rescheduled when its call is over."""

    __slots__ = ("_answered", "_courtesy", "_task", "error", "left", "result")

    def __init__(self, courtesy: Courtesy) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.left = False
        self._courtesy = courtesy
        self._answered = False
        self._task: trio.lowlevel.Task | None = None

    async def wait(self, deadline: float | None = None) -> Any:
        """See `Waiter`."""
        import trio

        now = trio.current_time()
        ends = _NEVER if deadline is None else now + deadline
        interval = FIRST_LOOK
        try:
            while not self._answered:
                with trio.CancelScope(deadline=min(ends, now + interval)) as scope:
                    self._task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._abort)
                if scope.cancelled_caught:
                    now = trio.current_time()
                    if now >= ends:
                        raise TimeoutError
                    interval = self._courtesy.look(interval)
        except BaseException:
            self.left = True
            raise
        if self.error is not None:
            raise self.error
        return self.result

    def wake(self) -> None:
        """See `Waiter`."""
        import trio

        self._answered = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        import trio

        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
