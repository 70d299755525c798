"""Progress of files, as a value for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from connector.transfer import Outcome, SilentObserver


@attrs.frozen
class FileProgress:
    """How far one file is.

    Attributes:
        label: Its accession, alias or name, that of its outcome.
        transferred: Bytes that were moved, in this run or an earlier one.
        size: Bytes to move in total; 0 for a file that failed before its size was known.
        finished: Whether it has ended; its outcome tells with which result.
    """

    label: str
    transferred: int
    size: int
    finished: bool = False


OnProgress = Callable[[FileProgress], object]
"""Called when a file begins, at most ten times a second while it moves, and once when it has ended."""


class ProgressReporter(SilentObserver):
    """An observer that adds up what is reported about each file.

    Args:
        on_progress: receives the values.
        clock: the time in seconds.
    """

    INTERVAL: Final = 0.1

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float]) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._files: dict[str, FileProgress] = {}
        self._reported: dict[str, float] = {}

    def opened(self, label: str, size: int) -> None:
        """Report a file of which nothing is moved yet, also one that restarts."""
        self._files[label] = FileProgress(label, 0, size)
        self._report(label)

    def kept(self, label: str, size: int) -> None:
        """Count what an earlier run has moved."""
        self.progressed(label, size)

    def progressed(self, label: str, size: int) -> None:
        """Count what was moved; negative after a failed try."""
        before = self._files[label]
        self._files[label] = attrs.evolve(before, transferred=before.transferred + size)
        if self._clock() - self._reported[label] >= self.INTERVAL:
            self._report(label)

    def finished(self, outcome: Outcome[Any]) -> None:
        """Report the end of a file, which was not opened if it existed already."""
        last = self._files.pop(outcome.label, FileProgress(outcome.label, 0, getattr(outcome.value, "size", 0)))
        self._reported.pop(outcome.label, None)
        transferred = last.size if outcome.ok else min(last.transferred, last.size)
        self._on_progress(attrs.evolve(last, transferred=transferred, finished=True))

    def _report(self, label: str) -> None:
        self._reported[label] = self._clock()
        progress = self._files[label]
        # A part that is moved although an earlier run has moved it is reported twice.
        self._on_progress(attrs.evolve(progress, transferred=min(progress.transferred, progress.size)))
