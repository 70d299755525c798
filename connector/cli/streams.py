"""Standard output and standard error, which may be full, closed or gone without any file being lost for it."""

from __future__ import annotations

import io
import os
import select
import shutil
import sys
from typing import TextIO


class OutputStream:
    """Writes to a stream and never raises. ``failure`` says why something was not written, and is empty if all was.

    Each text is written at once and past Python's buffers, which would keep what a full disk did not take and raise
    again at the next text. A pipe that another program has made non-blocking is waited for like any other.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._torn = False
        self.failure = "" if stream is not None else "it is closed"

    def size(self) -> os.terminal_size:
        """Return the columns and lines of the terminal behind it, or what is usual where that cannot be told."""
        usual = shutil.get_terminal_size()
        if self._descriptor is None:
            return usual
        try:
            found = os.get_terminal_size(self._descriptor)
        except OSError:
            return usual
        return os.terminal_size((found.columns or usual.columns, found.lines or usual.lines))

    def in_foreground(self) -> bool:
        """Return whether this process has the terminal behind it to itself; a shell's background job has not."""
        if self._descriptor is None:
            return True
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return True  # it is not the terminal that controls this process

    def encodable(self, text: str) -> str:
        """Return the text with escapes for what the stream's encoding has no characters for."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def write(self, text: str) -> None:
        """Write the text, all of it or as much as goes."""
        if self._stream is None:
            return
        text = self.encodable(text)
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            else:
                self._write_all(self._descriptor, text.encode(self._stream.encoding or "utf-8"))
        except (OSError, ValueError) as error:
            self.failure = (error.strerror if isinstance(error, OSError) else None) or str(error) or "it is gone"

    def _write_all(self, descriptor: int, content: bytes) -> None:
        if self._torn:  # a line that was cut must not damage the next one
            content = b"\n" + content
        left = memoryview(content)
        try:
            while left:
                try:
                    left = left[os.write(descriptor, left) :]
                except BlockingIOError:
                    select.select([], [descriptor], [])
        finally:
            if len(left) < len(content):
                self._torn = bool(left)


def _descriptor(stream: TextIO | None) -> int | None:
    if stream is None or sys.platform == "win32":  # A console there takes text, not bytes.
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def prepare_standard_streams() -> None:
    """Give this process the standard streams that it lacks, and have all of them take any character.

    The descriptors 0 to 2 are occupied where they are closed: the next file that is opened would get such a number, and
    what is meant for people would be written into it. What is printed to a closed standard output fails, since it is
    missed; a closed standard error takes everything.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
