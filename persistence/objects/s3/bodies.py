"""Bytes that threads transfer, which may continue after their caller was cancelled."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from persistence.threads import CallerCancelled

CHUNK: Final = 1024**2


class GuardedReader(io.RawIOBase):
    """A buffer as a file for boto3; it is not read any more after its caller was cancelled."""

    def __init__(self, view: memoryview, cancelled: threading.Event) -> None:
        super().__init__()
        self._view = view
        self._cancelled = cancelled
        self._at = 0

    def seekable(self) -> bool:
        """True: boto3 sends a body again after a failure."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes."""
        if self._cancelled.is_set():
            raise CallerCancelled
        end = len(self._view) if size is None or size < 0 else min(self._at + size, len(self._view))
        piece = bytes(self._view[self._at : end])
        self._at = end
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(0, base + offset)
        return self._at


class StreamedBody:
    """The body of a response, requested and read in threads; never closed while a thread uses it.

    Args:
        wanted: arguments of `get_object`. Without a call of `open` the body is empty.
    """

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self.wanted = wanted
        self._stream: Any = io.BytesIO()
        self._in_use = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False

    def open(self, client: Any, view: memoryview) -> int:
        """Request the body and fill a caller's buffer from it; `close` returns only when no more is written to it.

        Returns:
            The bytes read, fewer than the buffer has only at the end.
        """
        with self._used():
            self._stream = client.get_object(**self.wanted)["Body"]
        done = 0
        while done < len(view) and (piece := self.read(min(CHUNK, len(view) - done))):
            with self._writing:
                if self._closed:
                    raise CallerCancelled
                view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        with self._used():
            piece: bytes = self._stream.read(size)
            return piece

    def close(self) -> None:
        """Close the stream, at once or by the thread that is using it."""
        with self._writing:
            self._closed = True
        if self._in_use.acquire(blocking=False):
            self._stream.close()
            self._in_use.release()

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            with self._in_use:
                yield
        finally:
            if self._closed:
                self.close()
