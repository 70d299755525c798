"""Content files: written once, while their md5 is computed, and read by offset."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from persistence.objects.filesystem.records import Extent, NotSynced

T = TypeVar("T")


class ContentWriter:
    """Writes one content file, which is deleted at the end of a `with` block unless a record names it.

    All methods block. The deletion is quick enough for an event loop.

    Args:
        path: of the file, which is created with its folder.
        durable: whether it is flushed to the device.
    """

    def __init__(self, path: Path, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._named = False
        path.parent.mkdir(exist_ok=True)
        self._file = open(path, "xb")  # noqa: SIM115 (closed by finish or __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._named:
            # What cannot be deleted now is left over: the error that brought this about says more.
            for step in (self._file.close, self._path.unlink):
                with contextlib.suppress(OSError):
                    step()

    @property
    def extent(self) -> Extent:
        """The file as records name it, with the bytes written so far."""
        return Extent.of(self._path, self._size)

    @property
    def md5(self) -> str:
        """The md5 of the bytes written, in hex."""
        return self._digest.hexdigest()

    def write(self, view: memoryview) -> None:
        """Append bytes."""
        self._digest.update(view)
        self._size += len(view)
        self._file.write(view)

    def finish(self, name: Callable[[Self], T]) -> T:
        """Close the file, and write the record that names it; returns the result of `name`, which does that."""
        if self._durable:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._named = True
        try:
            return name(self)
        except BaseException as error:
            self._named = isinstance(error, NotSynced)
            raise


def read_at(path: Path, offset: int, view: memoryview) -> int:
    """Fill the view from a file's offset on; returns the bytes read, fewer only at the end of the file."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.readinto(view)
