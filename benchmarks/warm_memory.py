"""Memory at hand: contestants get pages that the machine holds, not ones that its host has to find first.

A virtual machine may give free memory back to its host (free page reporting, ballooning). Who then asks for memory, be
it for a file that is written, waits for the host, which can take several times as long as all else that is measured
here, and chance decides who. So before each run memory is taken from the host and let go of again: a sparse file is
read into the page cache, and a part of that dropped.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Self

_LEFT = 2 << 30
"""For the servers and all else that runs."""
_PIECE = 1 << 20


class WarmMemory(contextlib.ExitStack):
    """A sparse file in ``folder`` whose pages in the cache are memory that the host has handed out already.

    They are clean: the system takes them whenever it needs them, and counts them as free where it bounds what may wait
    to be written. Does nothing where a program cannot give up pages of the cache (``posix_fadvise``).
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._size = 0

    def __enter__(self) -> Self:
        self.descriptor = self.enter_context(tempfile.TemporaryFile(dir=self._folder)).fileno()
        return self

    def offer(self, size: int) -> None:
        """Have ``size`` bytes of warm memory free, and as many more in the cache; less where there is less."""
        if not hasattr(os, "posix_fadvise"):
            return
        size = min(size, max(available() - _LEFT, 0) // 2)
        self._size = max(self._size, 2 * size)
        os.ftruncate(self.descriptor, self._size)
        piece = bytearray(_PIECE)
        for start in range(0, self._size, _PIECE):
            os.preadv(self.descriptor, [piece], start)
        os.posix_fadvise(self.descriptor, 0, size, os.POSIX_FADV_DONTNEED)


def available() -> int:
    """Bytes of memory that could be had without swapping; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
