"""Busy polling: staying awake for an answer that is nearly there.

A processor that has nothing to do goes to sleep, and waking it up, more so in a virtual machine,
takes almost as long as a database on the same machine needs to answer. An event loop that looks at
its sockets again and again meanwhile uses hardly more processor time than going to sleep and waking
up do. It pays for an answer that comes at once and for one caller only: of several, one always has
something to do. Linux does the same for sockets of network cards (`net.core.busy_poll`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final


def _nobody() -> None:
    """Where a processor cannot be lent."""


give_way: Final[Callable[[], None]] = getattr(os, "sched_yield", _nobody)
"""Lend the processor to who waits for it, which may be the database that the answer is to come from."""


class BusyPolling:
    """How long to stay awake for the next answer, by how long the last ones took.

    Where answers take longer, be it that the database is far away or that the processors are taken,
    it is not done at all.
    """

    _LONGEST: Final = 0.0005
    """Seconds from the beginning of a call: as many as a call may take for this to pay."""
    _WEIGHT: Final = 0.125
    """Of the last call in the average."""
    _SLOW: Final = 4 * _LONGEST
    """Seconds that a call counts for if it took longer: one that stood still says little about the next."""

    def __init__(self) -> None:
        self._usual = 0.0

    @property
    def limit(self) -> float:
        """Seconds to stay awake from the beginning of a call; 0 for not at all."""
        return self._LONGEST if self._usual < self._LONGEST else 0.0

    def took(self, seconds: float) -> None:
        """Take note of a call that was over after so long."""
        self._usual += (min(seconds, self._SLOW) - self._usual) * self._WEIGHT
