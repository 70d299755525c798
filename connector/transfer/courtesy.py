"""Giving the interpreter's lock to threads that seal and open parts, where the event loop never rests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

_REST: Final = 0.0001
"""Seconds without the lock after which another thread has woken up and taken it."""
_PAUSE: Final = 0.0005
_AT_FIRST: Final = 0.02
"""Seconds without a rest before the loop stands back."""
_AGAIN: Final = 0.0025
"""The same once it has been so, until it rests of its own accord."""


class Courtesy(trio.abc.Instrument):
    """Makes the loop stand back for half a millisecond now and then, if it never rests while threads are at work.

    Somebody else's task in the same program, one that always has something to compute and lets others take their
    turns, would else bring all transfers to a stop: CPython hands its lock over only to a thread that has waited for
    it 5 ms in which nobody let go of it. A loop lets go of it whenever it looks at its sockets, for a microsecond, in
    which no thread can wake up but which begins the 5 ms anew.

    :param places: those for blocking work in threads; the loop stands back only while some are taken.
    :param clock: the time in seconds.
    :param pause: stops this thread, and with it the loop, for so many seconds.
    """

    def __init__(
        self,
        *places: trio.CapacityLimiter,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._places = places
        self._clock = clock
        self._pause = pause
        self._went_to_look = 0.0
        self._rested = 0.0
        self._patience = _AT_FIRST

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Look after the running loop for as long as the block lasts."""
        self._rested = self._clock()
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    def before_io_wait(self, timeout: float) -> None:
        """The loop looks at its sockets."""
        self._went_to_look = self._clock()

    def after_io_wait(self, timeout: float) -> None:
        """It has looked: was that a rest?"""
        now = self._clock()
        if now - self._went_to_look >= _REST:
            self._patience = _AT_FIRST
        elif now - self._rested < self._patience or not any(places.borrowed_tokens for places in self._places):
            return
        else:
            self._pause(_PAUSE)
            self._patience = _AGAIN
        self._rested = self._clock()
