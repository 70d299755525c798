"""Reading and writing without positions, from start to end: standard streams and other pipes. Blocks.

Python's buffers are passed by: what they hold is lost or written twice when a read or write is abandoned.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from connector.local.disk import local_failures

PIPE = Path("-")
"""How standard input and standard output are named where a file may be named."""


def _in_binary(descriptor: int) -> int:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
    return descriptor


class PipeReader:
    """Reads standard input, or another open descriptor, to its end."""

    def __init__(self, descriptor: int, *, platform: str = sys.platform) -> None:
        self._descriptor = _in_binary(descriptor)
        self._platform = platform

    def fill(self, view: memoryview) -> int:
        """Read until `view` is full or the input ends; returns the bytes read. `LocalError` if it cannot be read."""
        done = 0
        with local_failures("read", "standard input"):
            while done < len(view):
                try:
                    count = self._read_some(view[done:])
                except BlockingIOError:  # another program has made it non-blocking
                    select.select([self._descriptor], [], [])
                    continue
                if not count:
                    break
                done += count
        return done

    def _read_some(self, view: memoryview) -> int:
        if sys.platform != "win32" and self._platform != "win32":
            return os.readv(self._descriptor, [view])
        piece = os.read(self._descriptor, len(view))
        view[: len(piece)] = piece
        return len(piece)


class PipeWriter:
    """Writes to standard output, or another open descriptor. `written`: bytes so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = _in_binary(descriptor)
        self.written = 0

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        """Write all `views` in order; `LocalError` if that fails, as when the reader of the pipe has ended."""
        with local_failures("write to", "standard output"):
            for view in views:
                left = memoryview(view)
                while left:
                    try:
                        count = os.write(self._descriptor, left)
                    except BlockingIOError:
                        select.select([], [self._descriptor], [])
                        continue
                    left = left[count:]
                    self.written += count
