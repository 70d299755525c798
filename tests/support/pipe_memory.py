"""Pipes in memory, for what reads and writes from start to end."""

from __future__ import annotations

from collections.abc import Sequence


class MemoryReader:
    """What `PipeReader` does, from bytes."""

    name = "memory"

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def fill(self, view: memoryview) -> int:
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class MemoryWriter:
    """What `PipeWriter` does, into bytes."""

    name = "memory"

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def written(self) -> int:
        return len(self.data)

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        for view in views:
            self.data += view
