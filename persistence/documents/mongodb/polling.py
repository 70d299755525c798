"""Busy polling: staying awake for an answer that is nearly there.

A processor that has nothing to do goes to sleep, and waking it up, more so in a virtual machine,
takes almost as long as a database on the same machine needs to answer. An event loop that looks at
its sockets again and again meanwhile uses hardly more processor time than going to sleep and waking
up do. It pays for an answer that comes at once and for one caller only: of several, one always has
something to do. Linux does the same for sockets of network cards (`net.core.busy_poll`).
"""

from __future__ import annotations

import os
from typing import Final


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class BusyPolling:
    """How long to stay awake for the next answer, by how the last calls went.

    It is not done where answers take longer, be it that the database is far away or that the
    processors are taken, nor where the database would have to wait for ours. It is left for a while
    where it is in vain time and again, for twice as long each time.

    Args:
        processors: how many there are for us and the database.
    """

    _NEAR: Final = 0.0005
    """Seconds that a call may take on average for this to pay."""
    _LONGEST: Final = 0.001
    """Seconds from the beginning of a call. A scheduler may have put the database's thread behind ours. Linux lets
    another processor have it when it has waited for half a millisecond (`sched_migration_cost_ns`), so we stay longer.
    """
    _WEIGHT: Final = 0.125
    """Of the last call in the average, for which a call in vain counts as `_LONGEST`, however long it took."""
    _IN_VAIN: Final = 4.0
    """So many calls in vain, less a quarter of one for each that was not, make a pause."""
    _PAUSE: Final = (32, 2048)
    """Calls: of the first pause, and of the longest."""

    def __init__(self, processors: int) -> None:
        self._useful = processors > 1
        self._usual = 0.0
        self._in_vain = 0.0
        self._left = 0
        self._next = self._PAUSE[0]

    @property
    def limit(self) -> float:
        """Seconds to stay awake from the beginning of a call; 0 for not at all."""
        return self._LONGEST if self._useful and not self._left and self._usual < self._NEAR else 0.0

    def took(self, seconds: float) -> None:
        """Take note of a call that was over after so long."""
        if self._left:
            self._left -= 1
        elif seconds < self._LONGEST:
            self._in_vain = max(0.0, self._in_vain - 0.25)
            self._next = max(self._PAUSE[0], self._next - 1)
        elif self._usual < self._NEAR:
            self._in_vain += 1
            if self._in_vain >= self._IN_VAIN:
                self._in_vain, self._left = 0.0, self._next
                self._next = min(2 * self._next, self._PAUSE[1])
        self._usual += (min(seconds, self._LONGEST) - self._usual) * self._WEIGHT
