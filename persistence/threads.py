"""Blocking calls in threads that can be left behind: by deadline or cancellation."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from persistence.courtesy import courtesy
from persistence.errors import DeadlineExceeded

T = TypeVar("T")

_LOOK_AGAIN: Final = 0.02


class CallerCancelled(Exception):
    """Raised in a thread whose caller has gone; nobody sees it."""


class Threads:
    """Runs blocking calls in at most so many threads, each call within a deadline.

    A call that is cancelled or too late returns at once; its thread goes on until the call ends,
    and counts until then, so that threads do not pile up behind a service that hangs.

    Args:
        limit: threads at once.
        deadline: seconds that a call may take, waiting for a thread included.
        what: whose calls these are, for the error's message.
    """

    def __init__(self, limit: int, *, deadline: float, what: str) -> None:
        self._limit = limit
        self._deadline = deadline
        self._what = what
        self._turns = anyio.CapacityLimiter(limit)
        # Threads have no limit of their own: who has a turn and finds a place gets one.
        self._unlimited = anyio.CapacityLimiter(math.inf)
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[[threading.Event], T], *, deadline: float | None = None) -> T:
        """Run a call; it gets an event that is set once nobody waits for its result any more."""
        gone = threading.Event()
        seconds = self._deadline if deadline is None else deadline
        try:
            with anyio.fail_after(seconds):
                async with self._turns:
                    # Only threads left behind can fill the places of those who have a turn. Nobody waits
                    # for them, so they cannot wake a task, and this looks again.
                    while self._busy >= self._limit:  # noqa: ASYNC110
                        await anyio.sleep(_LOOK_AGAIN)
                    return await self._in_thread(call, gone)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._what} did not answer within {seconds:g} s.") from error
        finally:
            gone.set()

    async def _in_thread(self, call: Callable[[threading.Event], T], gone: threading.Event) -> T:
        place = _Place()
        with self._lock:
            self._busy += 1

        def run() -> T:
            with self._lock:
                if place.given_up:
                    raise CallerCancelled
                place.taken = True
            try:
                return call(gone)
            finally:
                with self._lock:
                    self._busy -= 1

        try:
            with courtesy():
                return await anyio.to_thread.run_sync(run, limiter=self._unlimited, abandon_on_cancel=True)
        finally:
            with self._lock:
                if not place.taken:
                    # Cancelled before the thread began: it will find that nobody wants it.
                    place.given_up = True
                    self._busy -= 1


class _Place:
    """Whether a thread has begun, or its caller went before that."""

    taken = False
    given_up = False
