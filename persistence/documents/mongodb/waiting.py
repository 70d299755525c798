"""Waiting for what another thread does, under trio and under asyncio."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import sniffio

from persistence.courtesy import Courtesy, courtesy

if TYPE_CHECKING:
    import trio


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
        make_waiter: makes a waiter there.
        post: has a callback run there, called from any thread; `RuntimeError` once that loop has ended.
    """

    make_waiter: Callable[[], Waiter]
    post: Callable[[Callable[[], None]], object]


def find_home() -> Home:
    """The event loop that runs now."""
    manners = courtesy()
    if sniffio.current_async_library() != "trio":
        return Home(lambda: AsyncioWaiter(manners), asyncio.get_running_loop().call_soon_threadsafe)
    import trio

    return Home(lambda: TrioWaiter(manners), trio.lowlevel.current_trio_token().run_sync_soon)


class AsyncioWaiter:
    """A future with a timer of its own, since a cancel scope would cost as much as the way to the thread and back."""

    __slots__ = ("_courtesy", "_future", "error", "left", "result")

    def __init__(self, manners: Courtesy) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.left = False
        self._courtesy = manners
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, deadline: float | None = None) -> Any:
        """See `Waiter`."""
        timer = None if deadline is None else self._future.get_loop().call_later(deadline, self._expire)
        try:
            with self._courtesy:
                await self._future
        except BaseException:
            self.left = True
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if self.error is not None:
            raise self.error
        return self.result

    def wake(self) -> None:
        """See `Waiter`."""
        if not self._future.done():
            self._future.set_result(None)

    def _expire(self) -> None:
        if not self._future.done():
            self._future.set_exception(TimeoutError())


class TrioWaiter:
    """A task that is rescheduled when its call is over."""

    __slots__ = ("_courtesy", "_task", "answered", "error", "left", "result")

    def __init__(self, manners: Courtesy) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.left = False
        self._courtesy = manners
        self.answered = False
        self._task: trio.lowlevel.Task | None = None

    async def wait(self, deadline: float | None = None) -> Any:
        """See `Waiter`."""
        import trio

        if not self.answered:
            self._task = trio.lowlevel.current_task()
            until = math.inf if deadline is None else trio.current_time() + deadline
            with self._courtesy, trio.CancelScope(deadline=until) as scope:
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            if scope.cancelled_caught:
                raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.result

    def wake(self) -> None:
        """See `Waiter`."""
        import trio

        self.answered = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        import trio

        self._task, self.left = None, True
        return trio.lowlevel.Abort.SUCCEEDED
