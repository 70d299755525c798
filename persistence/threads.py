"""Blocking calls in threads: within a deadline, and beside an event loop that never idles."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
import sniffio

T = TypeVar("T")

_POLL_INTERVAL: Final = 0.02
"""Seconds between two looks for a thread that an earlier call still uses."""


class CallerCancelled(Exception):
    """Raised in a thread whose caller was cancelled; it is never seen outside of the thread."""


class Threads:
    """Runs blocking calls in at most `limit` threads, each call within a deadline.

    A call that is cancelled or too late returns at once. Its thread continues until the blocking call ends and counts
    towards the limit until then, so that threads do not accumulate behind a service that hangs.

    Args:
        limit: threads at once.
        deadline: seconds that a call may take, waiting for a thread included.
        what: the service that is called, for the error's message.
        hint: what to do if it does not answer in time.
    """

    def __init__(self, limit: int, *, deadline: float, what: str, hint: str = "") -> None:
        self._limit = limit
        self._deadline = deadline
        self._what = what
        self._hint = hint
        self._limiter = anyio.CapacityLimiter(limit)
        # Threads of cancelled calls hold no token of the limiter, so anyio's own limit does not apply.
        self._unlimited = anyio.CapacityLimiter(math.inf)
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[[threading.Event], T], *, deadline: float | None = None) -> T:
        """Run a call in a thread.

        Args:
            call: is given an event that is set once its result is no longer waited for.
            deadline: seconds, instead of the default.

        Raises:
            DeadlineExceeded: it took longer.
        """
        cancelled = threading.Event()
        seconds = self._deadline if deadline is None else deadline
        try:
            with anyio.fail_after(seconds):
                async with self._limiter:
                    # Threads of cancelled calls cannot wake a task when they end, so this polls.
                    while self._busy >= self._limit:  # noqa: ASYNC110
                        await anyio.sleep(_POLL_INTERVAL)
                    return await self._in_thread(call, cancelled)
        except TimeoutError as error:
            from persistence.errors import DeadlineExceeded  # here, since most of what uses threads needs no storage

            raise DeadlineExceeded(f"{self._what} did not answer within {seconds:g} s.", hint=self._hint) from error
        finally:
            cancelled.set()

    async def _in_thread(self, call: Callable[[threading.Event], T], cancelled: threading.Event) -> T:
        begun = abandoned = False
        with self._lock:
            self._busy += 1

        def run() -> T:
            nonlocal begun
            with self._lock:
                if abandoned:
                    raise CallerCancelled
                begun = True
            try:
                return call(cancelled)
            finally:
                with self._lock:
                    self._busy -= 1

        try:
            with gil_yielder():
                return await anyio.to_thread.run_sync(run, limiter=self._unlimited, abandon_on_cancel=True)
        finally:
            with self._lock:
                if not begun:
                    abandoned = True
                    self._busy -= 1


class GilYielder:
    """Sleeps briefly so that worker threads can take the GIL, if the event loop never idles while they have calls.

    CPython passes the GIL to a thread that has waited for it for 5 ms without its being released. An event loop that
    always has something to compute releases it for a microsecond in each cycle, when it polls its sockets: too short
    for a thread to wake up, but it starts the 5 ms again. So calls in threads make no progress beside such a loop.

    Use it around each call in a thread: `with gil_yielder(): await trio.to_thread.run_sync(...)`. While calls are
    outstanding, the loop is checked every 2.5 ms. If it was busy and no call has ended since the last check, it sleeps
    for 0.5 ms.

    It uses a timer of asyncio, which ends when no calls are outstanding, or an instrument of trio, which stays
    installed until the end of the run.

    Args:
        clock: the time in seconds.
        used: the processor time of this thread in seconds.
        sleep: blocks this thread, and with it the loop.
    """

    TICK: Final = 0.0025
    SLEEP: Final = 0.0005
    BUSY: Final = 0.5
    """Processor time in the time since the last check from which the loop counts as busy."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._used = used
        self._sleep = sleep
        self._outstanding = 0
        self._watching = False
        self._begin_interval()

    def __enter__(self) -> None:
        self._outstanding += 1
        if not self._watching:
            self._watching = True
            self._watch()

    def __exit__(self, *error: object) -> None:
        self._outstanding -= 1
        self._call_ended = True

    def check(self) -> None:
        """Sleep if the loop has been busy since the last check and no call has ended."""
        elapsed, used = self._clock() - self._checked_at, self._used() - self._used_before
        if self._outstanding and not self._call_ended and used > elapsed * self.BUSY:
            self._sleep(self.SLEEP)
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._call_ended = False
        self._checked_at, self._used_before = self._clock(), self._used()

    def _watch(self) -> None:
        """Have `check` called every `TICK` seconds, as long as calls are outstanding."""
        if sniffio.current_async_library() == "trio":
            import trio

            trio.lowlevel.add_instrument(self)  # type: ignore[arg-type]
        else:
            import asyncio

            self._begin_interval()
            loop = asyncio.get_running_loop()
            loop.call_later(self.TICK, self._on_timer, loop)

    def _on_timer(self, loop: Any) -> None:
        self._watching = self._outstanding > 0
        if self._watching:
            self.check()
            loop.call_later(self.TICK, self._on_timer, loop)

    def after_io_wait(self, timeout: float) -> None:
        """Called by trio in each cycle of its loop."""
        if self._outstanding and self._clock() - self._checked_at >= self.TICK:
            self.check()


def gil_yielder() -> GilYielder:
    """The `GilYielder` of the event loop that runs now."""
    loop = current_loop()
    found = _YIELDERS.get(loop)
    if found is None:
        found = _YIELDERS[loop] = GilYielder()
    return found


def current_loop() -> object:
    """The event loop that runs now: that of asyncio, or the token of trio's run."""
    if sniffio.current_async_library() == "trio":
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


_YIELDERS: Final[WeakKeyDictionary[Any, GilYielder]] = WeakKeyDictionary()
