"""Bytes that threads transfer, which may continue after their caller was cancelled."""

from __future__ import annotations

import io
import threading
from typing import Any, Final

from persistence.threads import CallerCancelled

CHUNK: Final = 1024**2


class GuardedReader(io.RawIOBase):
    """A buffer as a file for boto3; it is not read any more after its caller was cancelled."""

    def __init__(self, view: memoryview, gone: threading.Event) -> None:
        super().__init__()
        self._view = view
        self._gone = gone
        self._at = 0

    def seekable(self) -> bool:
        """True: boto3 sends a body again after a failure."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes."""
        if self._gone.is_set():
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


class GuardedWriter:
    """A caller's buffer, filled until the call ends or is cancelled."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._closed = False
        self.size = 0

    def fill(self, stream: Any) -> int:
        """Read the stream into the buffer; `CallerCancelled` if `close` was called."""
        while self.size < len(self._view):
            piece = stream.read(min(CHUNK, len(self._view) - self.size))
            if not piece:
                break
            with self._lock:
                if self._closed:
                    raise CallerCancelled
                self._view[self.size : self.size + len(piece)] = piece
                self.size += len(piece)
        return self.size

    def close(self) -> None:
        """Never write to the buffer again."""
        with self._lock:
            self._closed = True


class StreamedBody:
    """The body of a response, read piece by piece in threads, closed after the last read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    def read(self, _: threading.Event) -> bytes:
        """The next piece, empty at the end."""
        with self._lock:
            if self._closed:
                raise CallerCancelled
            self._reading = True
        try:
            piece: bytes = self._stream.read(CHUNK)
            return piece
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._reading = False
            late = self._closed
        if late:
            self._stream.close()

    def close(self) -> None:
        """Close the stream, at once or by the thread that is reading it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            busy = self._reading
        if not busy:
            self._stream.close()
