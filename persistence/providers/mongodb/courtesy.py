"""Giving the interpreter's lock to the thread that works for us, where our own never rests.

CPython hands its lock over to a thread that has waited for it 5 ms in which nobody let go of it. An
event loop that always has something to do lets go of it for a microsecond whenever it looks at its
sockets, which is too short for the other thread to wake up in, and begins the 5 ms anew: a call
that another thread makes then stands still for seconds. So whoever waits looks now and then whether
its own thread has rested, and otherwise sleeps for as long as a call needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST_LOOK: Final = 0.0025
"""Seconds after which somebody who waits looks for the first time; most calls are over by then."""
_LONGEST: Final = 0.04
"""Seconds between two looks of somebody whose thread has rested every time."""
_PAUSE: Final = 0.0005
"""Seconds that a thread stands back: long enough for the other one to wake up and make a call or two."""
_BUSY: Final = 0.25
"""Share of the time since the last look from which on a thread counts as busy."""


class Courtesy:
    """Tells one thread when to stand back. Used by that thread only.

    Args:
        clock: the time, in seconds.
        used: the processor time of this thread, in seconds.
        pause: stops this thread for so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._used = used
        self._pause = pause
        self._looked_at = -FIRST_LOOK
        self._used_then = 0.0

    def look(self, interval: float) -> float:
        """Called by who has waited for `interval` seconds: stand back if this thread was busy meanwhile.

        Returns:
            Seconds after which to look again.
        """
        now = self._clock()
        elapsed = now - self._looked_at
        if elapsed < FIRST_LOOK:
            # Another one who waits has looked just now.
            return interval
        used = self._used()
        busy = used - self._used_then > elapsed * _BUSY
        if busy:
            self._pause(_PAUSE)
            now = self._clock()
        self._looked_at, self._used_then = now, used
        return FIRST_LOOK if busy else min(interval * 2, _LONGEST)
