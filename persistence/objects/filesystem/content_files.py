"""Content files: written once, while their md5 is computed, and read by offset."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path


class ContentWriter:
    """Writes one content file and counts its bytes as `size`; all methods block.

    The file is created in its folder; no record names it yet.
    """

    def __init__(self, path: Path, durable: bool) -> None:
        self.path = path
        self._durable = durable
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0
        path.parent.mkdir(exist_ok=True)
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 (closed by close or drop)

    @property
    def md5(self) -> str:
        """The md5 of the bytes written, in hex."""
        return self._digest.hexdigest()

    def write(self, view: memoryview) -> None:
        """Append bytes."""
        self._digest.update(view)
        self.size += len(view)
        while view:
            written = self._file.write(view)
            view = view[written:]

    def close(self) -> None:
        """Finish the file."""
        if self._durable:
            os.fsync(self._file.fileno())
        self._file.close()

    def drop(self) -> None:
        """Close and delete the file."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def read_at(path: Path, offset: int, view: memoryview) -> int:
    """Fill the view from a file's offset on; returns the bytes read, fewer only at the end of the file."""
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                break
            done += count
        return done
