"""Blocking calls in threads that can be left behind: by deadline or cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from persistence.errors import DeadlineExceeded

T = TypeVar("T")

_LOOK_AGAIN: Final = 0.02


class Gone(Exception):
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
        self._limiter = anyio.CapacityLimiter(limit)
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[[threading.Event], T], *, deadline: float | None = None) -> T:
        """Run a call; it gets an event that is set once nobody waits for its result any more."""
        gone = threading.Event()
        seconds = self._deadline if deadline is None else deadline
        try:
            with anyio.fail_after(seconds):
                # Threads left behind hold no token of the limiter under asyncio, but they count here. A
                # thread that nobody waits for cannot wake a task of the loop, so this looks again.
                while self._busy >= self._limit and self._limiter.borrowed_tokens < self._limit:  # noqa: ASYNC110
                    await anyio.sleep(_LOOK_AGAIN)
                return await anyio.to_thread.run_sync(
                    self._count, call, gone, limiter=self._limiter, abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._what} did not answer within {seconds:g} s.") from error
        finally:
            gone.set()

    def _count(self, call: Callable[[threading.Event], T], gone: threading.Event) -> T:
        with self._lock:
            self._busy += 1
        try:
            if gone.is_set():
                raise Gone
            return call(gone)
        finally:
            with self._lock:
                self._busy -= 1
