"""A terminal that a command runs in, and a person who looks at it: what could be seen when, and what scrolled away."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pyte

from tests.support.program import Program


@attrs.frozen
class Look:
    """What could be seen at a moment: the lines that are not empty."""

    seconds: float
    lines: tuple[str, ...]


class Terminal:
    """A terminal of this size, on whose standard error one command runs."""

    def __init__(self, program: Program, *arguments: object, width: int, height: int = 24, term: str = "xterm") -> None:
        self._ours, theirs = pty.openpty()
        self._screen = pyte.HistoryScreen(width, height, history=10_000, ratio=1.0)
        self._stream = pyte.ByteStream(self._screen)
        self._began = time.monotonic()
        self.looks: list[Look] = []
        self.raw = bytearray()
        self.resize(width, height)
        self.modes = termios.tcgetattr(theirs)
        try:
            self.process = program.start(*arguments, stderr=theirs, environment={"TERM": term})
        finally:
            self._theirs = theirs
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self._screen.resize(height, width)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_until(self, seen: Callable[[Look], Any], *, seconds: float = 180) -> Look:
        """Wait until something can be seen."""
        deadline = time.monotonic() + seconds
        while True:
            for look in reversed(self.looks):
                if seen(look):
                    return look
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def finish(self, *, seconds: float = 180) -> int:
        """Wait for the command and return its exit code; the terminal must be as it was before."""
        try:
            self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None
        modes = termios.tcgetattr(self._theirs)
        os.close(self._theirs)
        self._reader.join(60)
        os.close(self._ours)
        assert modes == self.modes
        return int(self.process.returncode)

    @property
    def text(self) -> str:
        """All that can be seen at last, and what has scrolled away above it."""
        width = self._screen.columns
        history = ["".join(line[column].data for column in range(width)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*history, *self._screen.display]).rstrip()

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor."""
        return self._screen.cursor.x, self._screen.cursor.y

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # the command was the last that had it open
                return
            if not piece:
                return
            self.raw += piece
            self._stream.feed(piece)
            lines = tuple(line.rstrip() for line in self._screen.display if line.strip())
            self.looks.append(Look(time.monotonic() - self._began, lines))
