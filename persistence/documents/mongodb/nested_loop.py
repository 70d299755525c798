"""PyMongo's asyncio client under trio without another thread: an asyncio loop that is turned by trio.

The way to a thread and back costs as much as a database on the same machine needs to answer, and
threads have to share the interpreter's lock. So, where the system lets one selector wait for
another, asyncio's loop runs in trio's own thread: a few rounds, until it has nothing left to do,
whenever a call begins, one of its sockets is ready or a timer is due. It never waits for anything
itself: its selector, asked to, stops the loop instead, and a task of trio waits for the selector.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import sniffio
import trio

from persistence.documents.mongodb.polling import BusyPolling, processors
from persistence.documents.mongodb.waiting import TrioWaiter

T = TypeVar("T")

_PATIENCE: Final = 2.0
_NO_COURTESY: Final = contextlib.nullcontext()
"""Nobody has to be given the interpreter's lock: everything is in one thread."""


class _Selector(selectors.EpollSelector):
    """A selector that, while it is nested, does not wait but says until when there is nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.nested = True
        self.idle: Callable[[], object] = _nothing
        self.due = math.inf
        self._awaited: TrioWaiter | None = None
        self._awake_until = 0.0

    def stay_awake(self, awaited: TrioWaiter, until: float) -> None:
        """Once asked to wait, go on looking until then, unless the awaited has come."""
        self._awaited, self._awake_until = awaited, until

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        if not self.nested:
            return super().select(timeout)
        ready = super().select(0)
        if timeout == 0 or ready:
            return ready
        if (awaited := self._awaited) is not None:
            while not awaited.answered and time.monotonic() < self._awake_until:
                if ready := super().select(0):
                    return ready
            self._awaited = None
        self.due = math.inf if timeout is None else time.monotonic() + timeout
        self.idle()
        return ready


class NestedLoop:
    """An asyncio loop in trio's thread."""

    def __init__(self) -> None:
        self._selector: _Selector
        self._loop: asyncio.AbstractEventLoop
        self._rest = trio.CancelScope()
        self._polling = BusyPolling(processors())
        self._serving: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stopped = trio.Event()

    async def start(self) -> None:
        """Open the loop and have trio turn it from now on."""
        self._selector = _Selector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._selector.idle = self._loop.stop
        # A system task: it must go on where its starter is cancelled, until `stop` is called.
        trio.lowlevel.spawn_system_task(self._attend)

    async def run(self, call: Callable[[], Awaitable[T]], deadline: float | None = None, *, brief: bool = False) -> T:
        """Run the call in a task of the loop; on cancellation, leave it behind."""
        await trio.lowlevel.checkpoint_if_cancelled()
        began = time.monotonic()
        waiter = TrioWaiter(_NO_COURTESY)
        # Kept, for the loop itself only holds its tasks weakly.
        task = self._loop.create_task(self._serve(call, waiter, brief))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if not brief:
            self._rest.cancel()
            if self._stopped.is_set():
                self._finish({task})
            result: T = await waiter.wait(deadline)
            return result
        try:
            self._selector.stay_awake(waiter, began + self._polling.limit)
            self._turn()
            if waiter.answered:
                await trio.lowlevel.cancel_shielded_checkpoint()
            result = await waiter.wait(deadline)
        finally:
            self._polling.took(time.monotonic() - began)
        return result

    @property
    def prompt(self) -> bool:
        """Whether it would be waited for awake: going to sleep and being woken up takes both loops a while."""
        return self._polling.limit > 0

    def took(self, seconds: float) -> None:
        """See `Loop`."""
        self._polling.took(seconds)

    async def stop(self) -> None:
        """Cancel what still runs, end the task that turns the loop, and close it."""
        with trio.CancelScope(shield=True):
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left and not self._stopped.is_set():
                await self.run(lambda: asyncio.wait(left, timeout=_PATIENCE))
            elif left:
                self._finish(left)
            self._stopping = True
            self._rest.cancel()
            await self._stopped.wait()
        self._loop.close()

    async def _attend(self) -> None:
        """WriterLock the loop whenever there is something to do."""
        try:
            while not self._stopping:
                self._turn()
                with trio.CancelScope(deadline=self._due()) as self._rest:
                    while True:
                        await trio.lowlevel.wait_readable(self._selector.fileno())
                        self._turn()
        finally:
            self._stopped.set()

    def _finish(self, left: set[asyncio.Task[Any]]) -> None:
        """Wait for tasks where nobody turns the loop any more: trio closes forgotten async generators that late."""
        self._selector.nested = False
        self._enter(lambda: self._loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE)))

    def _turn(self) -> None:
        """Let the loop do what there is to do."""
        self._enter(self._loop.run_forever)
        # Put off, it would only be brought forward again: a turn too many costs less than that.
        if (due := self._due()) < self._rest.deadline:
            self._rest.deadline = due

    @trio.lowlevel.enable_ki_protection
    def _enter(self, run: Callable[[], object]) -> None:
        """Run the loop. An interrupt waits until it returns: PyMongo's locks would not bear it."""
        library, sniffio.thread_local.name = sniffio.thread_local.name, "asyncio"
        try:
            run()
        finally:
            sniffio.thread_local.name = library

    async def _serve(self, call: Callable[[], Awaitable[Any]], waiter: TrioWaiter, brief: bool) -> None:
        try:
            waiter.result = await call()
        except asyncio.CancelledError:
            waiter.error = RuntimeError("the loop was stopped while a call was running")
        except BaseException as error:
            waiter.error = error
        if waiter.left:
            return
        waiter.wake()
        if self._selector.nested and not brief:
            # Whoever waits for it has its turn before the next answer is looked at, while this one is at hand.
            self._selector.due = -math.inf
            self._loop.stop()

    def _due(self) -> float:
        """When the loop's next timer is due, by trio's clock."""
        return trio.current_time() + self._selector.due - time.monotonic()


def _nothing() -> None:
    pass
