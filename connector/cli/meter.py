"""Counts what a command has moved so far, of how much. The clock is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

import attrs

RATE_WINDOW = 15.0
"""Seconds over which the rate is averaged: less, and it varies with each part; more, and it is wrong after stalls."""
STALL_AFTER = 20.0
"""Seconds without a byte after which a stall is reported instead of a rate."""


@attrs.frozen
class FileState:
    """A file that is being moved: `through` of `size` bytes are done, of which `None` is not known (a pipe)."""

    label: str
    through: int
    size: int | None


@attrs.frozen
class State:
    """How far a command is.

    `done` and `failed` of `total` files have ended. `through` of `expected` bytes are done, both of the files
    whose size is known; `unknown` counts the others. `remaining` bytes are still to be moved, as far as is known,
    at `rate` bytes per second. `silence`: seconds without a byte, if they are many. `newest`: some of the files
    that are being moved, the one that began last first.
    """

    done: int
    failed: int
    total: int
    through: int
    expected: int
    unknown: int
    remaining: int
    rate: float
    silence: float | None = None
    newest: tuple[FileState, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether there are bytes to move."""
        return bool(self.expected or self.unknown)


@attrs.define
class _File:
    size: int | None
    began: float
    moved: int = 0
    kept: int = 0

    @property
    def through(self) -> int:
        # Bytes that are reported twice, such as a part that is moved although it was kept, must not exceed the size.
        through = self.moved + self.kept
        return through if self.size is None else min(through, self.size)


class Meter:
    """Counts the files and bytes of a command.

    A file counts when it is planned or opened; its size when it is known. A failed file still counts, with the bytes
    that were moved; one that existed already is done. Bytes that an earlier run moved are done, but not part of the
    rate.
    """

    def __init__(self, now: float) -> None:
        self._planned: dict[str, int | None] = {}
        self._open: dict[str, _File] = {}
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])
        self._moved = 0
        self._last_byte = now
        self._done = 0
        self._failed = 0
        self._expected = 0
        self._unknown = 0
        self._ended_through = 0
        self._open_through = 0
        self._remaining = 0

    def plan(self, files: Iterable[tuple[str, int | None]]) -> None:
        """Add files that will be opened or will end later.

        If all files of the previous plan have ended, this is the next step of the command with its files, such as
        waiting for their checks: then only failed ones still count.
        """
        if not self._open and not self._planned:
            self._done = self._expected = self._unknown = self._ended_through = self._remaining = 0
        for label, size in files:
            if label not in self._planned and label not in self._open:
                self._planned[label] = size
                self._expect(size)

    def open(self, label: str, size: int | None, now: float) -> None:
        """A file of `size` bytes begins, or begins again: then nothing of it is done."""
        if label in self._planned:
            self._forget(self._planned.pop(label))
        elif (again := self._open.pop(label, None)) is not None:
            self._advance(again, -again.through)
            self._forget(again.size)
        self._expect(size)
        self._open[label] = _File(size, now)

    def move(self, label: str, size: int, now: float) -> None:
        """Count bytes, or take back those of a failed try; zero only says that it is not stalled."""
        self._moved += size
        if size >= 0:
            self._last_byte = now
        if file := self._open.get(label):
            before = file.through
            file.moved += size
            self._advance(file, file.through - before)

    def keep(self, label: str, size: int) -> None:
        """Count bytes of an open file that need not be moved, or that have to be moved after all if negative."""
        if file := self._open.get(label):
            before = file.through
            file.kept += size
            self._advance(file, file.through - before)

    def close(self, label: str, ok: bool, now: float) -> tuple[int, float] | None:
        """Count a file out; return the bytes moved for it and its seconds, or None if it never was opened."""
        self._done += ok
        self._failed += not ok
        file = self._open.pop(label, None)
        if file is not None:
            self._open_through -= file.through
            if file.size is None:
                self._forget(None)
                self._expected += file.through
                self._ended_through += file.through
            else:
                self._remaining -= file.size - file.through
                self._ended_through += file.size if ok else file.through
            return file.moved, now - file.began
        if label in self._planned:
            size = self._planned.pop(label)
            if size is not None:
                self._remaining -= size
                self._ended_through += size if ok else 0
            elif ok:
                self._unknown -= 1  # it existed already, so its size was not needed
        return None

    def state(self, now: float, *, newest: int = 0) -> State:
        """Return how far all is, with up to so many of the files that are being moved; takes a sample for the rate."""
        silence = now - self._last_byte
        return State(
            done=self._done,
            failed=self._failed,
            total=self._done + self._failed + len(self._open) + len(self._planned),
            through=self._ended_through + self._open_through,
            expected=self._expected,
            unknown=self._unknown,
            remaining=self._remaining,
            rate=self._rate(now),
            silence=silence if silence >= STALL_AFTER and self._open else None,
            newest=tuple(
                FileState(label, self._open[label].through, self._open[label].size)
                for label in islice(reversed(self._open), newest)
            ),
        )

    def _expect(self, size: int | None) -> None:
        if size is None:
            self._unknown += 1
        else:
            self._expected += size
            self._remaining += size

    def _forget(self, size: int | None) -> None:
        if size is None:
            self._unknown -= 1
        else:
            self._expected -= size
            self._remaining -= size

    def _advance(self, file: _File, size: int) -> None:
        self._open_through += size
        if file.size is not None:
            self._remaining -= size

    def _rate(self, now: float) -> float:
        if now > self._samples[-1][0]:
            self._samples.append((now, self._moved))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_WINDOW:
            self._samples.popleft()
        began, moved = self._samples[0]
        return max(0.0, (self._moved - moved) / (now - began)) if now > began else 0.0
