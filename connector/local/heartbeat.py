"""Refreshes the lock files of this process at intervals, so that other machines see that it lives."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class Heartbeat:
    """Touches files from one thread of its own, which there is only while there are files.

    :param seconds: from one refresh to the next.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds
        self._marks: dict[Path, bytes] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, path: Path, mark: bytes) -> None:
        """Touch the file at ``path`` from now on, for as long as it holds ``mark``; then it is another's."""
        with self._change:
            self._marks[path] = mark
            if self._thread is None:
                # A daemon: the end of a process has not to wait for it.
                self._thread = threading.Thread(target=self._beat, name="connector-heartbeat", daemon=True)
                self._thread.start()

    def remove(self, path: Path) -> None:
        """Let the file at ``path`` alone."""
        with self._change:
            self._marks.pop(path, None)
            if not self._marks:
                self._change.notify()

    def _beat(self) -> None:
        while True:
            with self._change:
                self._change.wait(self._seconds)
                if not self._marks:
                    self._thread = None
                    return
                marks = dict(self._marks)
            for path, mark in marks.items():
                with contextlib.suppress(OSError):  # a file system that is away for a moment may be back for the next
                    if path.read_bytes() == mark:
                        os.utime(path)


HEARTBEAT = Heartbeat()
"""That of this process: claims say which process works on a target, so there is one for all of them."""
