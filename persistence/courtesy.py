"""Giving the interpreter's lock to threads that work for us, where the event loop never rests.

CPython hands its lock over only to a thread that has waited for it 5 ms in which nobody let go of
it. An event loop that always has something to do lets go of it for a microsecond whenever it looks
at its sockets. No thread can wake up in that time, but it begins the 5 ms anew: a call in a thread
then stands still for seconds. So while calls are outstanding, a loop that does not rest of its own
accord is made to, for half a millisecond now and then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import sniffio

_PAUSE: Final = 0.0005
"""Seconds that the loop stands back: long enough for a thread to wake up and make a call or two."""
_SOON: Final = 0.0025
"""Seconds between two looks, or two pauses, of a loop that does not rest."""


class Courtesy(Protocol):
    """Looks after one event loop. Each call in a thread is made within `with courtesy:`, in that loop."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...


def courtesy() -> Courtesy:
    """The one of the event loop that runs now."""
    home: Any
    make: Callable[[], Courtesy]
    if sniffio.current_async_library() == "trio":
        import trio

        home, make = trio.lowlevel.current_trio_token(), TrioCourtesy
    else:
        home, make = asyncio.get_running_loop(), AsyncioCourtesy
    found = _KNOWN.get(home)
    if found is None:
        found = _KNOWN[home] = make()
    return found


_KNOWN: WeakKeyDictionary[Any, Courtesy] = WeakKeyDictionary()


class TrioCourtesy:
    """An instrument of trio: it sees whether the loop rests, and leaves a second after the last call.

    `there` tells whether it is in the loop now.

    Args:
        clock: the time in seconds.
        pause: stops this thread, and with it the loop, for so many seconds.
    """

    _ENOUGH: Final = 0.0001
    """Seconds without the lock after which another thread has woken up and taken it."""
    _AT_FIRST: Final = 0.01
    """Seconds without a rest before the first pause."""
    _LEAVES: Final = 1.0

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._calls = 0
        self.there = False
        self._looking_since = 0.0
        self._rested_at = 0.0
        self._needed_at = 0.0
        self._patience = self._AT_FIRST

    def __enter__(self) -> None:
        self._calls += 1
        if not self.there:
            import trio

            trio.lowlevel.add_instrument(self)  # type: ignore[arg-type]
            self.there = True
            self._rested_at = self._clock()

    def __exit__(self, *error: object) -> None:
        self._calls -= 1
        if not self._calls:
            self._needed_at = self._clock()

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio."""
        self._looking_since = self._clock()

    def after_io_wait(self, timeout: float) -> None:
        """Called by trio."""
        now = self._clock()
        if now - self._looking_since >= self._ENOUGH:
            self._rested_at, self._patience = now, self._AT_FIRST
        elif self._calls and now - self._rested_at >= self._patience:
            self._pause(_PAUSE)
            self._rested_at, self._patience = self._clock(), _SOON
        if not self._calls and now - self._needed_at > self._LEAVES:
            import trio

            trio.lowlevel.remove_instrument(self)  # type: ignore[arg-type]
            self.there = False


class AsyncioCourtesy:
    """A timer of the loop that ticks while calls are outstanding.

    asyncio does not tell whether it rests. What counts is that no call has ended since the last
    tick while this thread was using a processor.

    Args:
        clock: the time in seconds.
        used: the processor time of this thread in seconds.
        pause: stops this thread, and with it the loop, for so many seconds.
    """

    _BUSY: Final = 0.25
    _SELDOM: Final = 0.04

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._used = used
        self._pause = pause
        self._calls = 0
        self._ended = False
        self._ticking = False
        self._looked_at = 0.0
        self._used_then = 0.0

    def __enter__(self) -> None:
        self._calls += 1
        if not self._ticking:
            self._ticking = True
            self._begin(_SOON)

    def __exit__(self, *error: object) -> None:
        self._calls -= 1
        self._ended = True

    def _begin(self, interval: float) -> None:
        self._ended = False
        self._looked_at, self._used_then = self._clock(), self._used()
        asyncio.get_running_loop().call_later(interval, self._tick, interval)

    def _tick(self, interval: float) -> None:
        if not self._calls:
            self._ticking = False
            return
        if self._ended:
            self._begin(_SOON)
        elif self._used() - self._used_then > (self._clock() - self._looked_at) * self._BUSY:
            self._pause(_PAUSE)
            self._begin(_SOON)
        else:
            self._begin(min(interval * 2, self._SELDOM))
