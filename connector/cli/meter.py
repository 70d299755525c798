"""The state of a command that moves files: bytes counted for each and for all, and why transfers pause. Pure."""

from __future__ import annotations

import re
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


REPEAT_EVERY = 60.0
"""Seconds between two lines about the same cause, and without a report after which it counts as over."""
_COLLECT_FOR = 0.5
"""Seconds for which a line about a cause is delayed, to collect the files that report it."""
_SHOWN_AFTER_END = 1.0
"""Seconds for which a pause is shown after its end."""

# What differs between reports of one cause: digests and ids, then numbers (of parts, ports, bytes, addresses).
_IDS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+")


def cause_of(text: str, label: str = "") -> str:
    """Return what messages about one cause have in common, independent of file and part."""
    if label:
        text = text.replace(label, "*")
    return _NUMBERS.sub("#", _IDS.sub("#", text))


@attrs.define
class Pause:
    """A cause with its last message. `then` states what follows it; `labels`: the files that it concerns."""

    text: str
    then: str
    waits: bool
    since: float
    labels: dict[str, None] = attrs.field(factory=dict)
    tries: list[float] = attrs.field(factory=list)
    reported: float = 0.0
    printed: float | None = None
    count: int = 0

    @property
    def files(self) -> str:
        """The files that it concerns, for the beginning of a line; empty if it concerns calls for no file."""
        labels = list(self.labels)
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        return f"{labels[0]}{more}" if labels else ""

    @property
    def sentence(self) -> str:
        """The text of a line about it."""
        often = f" ({self.count} times in the last minute.)" if self.printed is not None and self.count > 1 else ""
        return (f"waiting. {self.text}" if self.waits else f"{self.text} {self.then}") + often

    def seconds(self, now: float) -> int | None:
        """Seconds to the next try, 0 for one that is being made; None if none is to come."""
        ahead = [at for at in self.tries if at > now]
        if ahead:
            return max(1, round(min(ahead) - now))
        return 0 if self.tries and self.tries[-1] > now - _SHOWN_AFTER_END else None


class Pauses:
    """The pauses of a command."""

    def __init__(self) -> None:
        self._pauses: dict[str, Pause] = {}

    def add(self, label: str, text: str, then: str, delay: float, now: float, *, waits: bool = False) -> None:
        """Add a report of a failure or wait, with the next try in `delay` seconds."""
        self._pauses = {cause: pause for cause, pause in self._pauses.items() if not _is_over(pause, now)}
        pause = self._pauses.setdefault(cause_of(text, label), Pause(text, then, waits, now))
        pause.text, pause.then, pause.reported = text, then, now
        pause.tries = sorted([at for at in pause.tries if at > now - _SHOWN_AFTER_END] + [now + delay])
        pause.count += 1
        if label:
            pause.labels.setdefault(label)

    def current(self, now: float) -> list[Pause]:
        """The present pauses, the one that was reported last first."""
        found = [pause for pause in self._pauses.values() if pause.seconds(now) is not None]
        return sorted(found, key=lambda pause: -pause.reported)

    def due_lines(self, now: float, *, again: bool, at_once: bool = False) -> list[tuple[str, str]]:
        """The lines that are due, each with its files: each cause at its beginning, and every minute if `again`.

        `at_once`: also causes whose line is not due yet, except waits, whose files may have ended meanwhile.
        """
        lines = []
        for pause in self._pauses.values():
            if at_once and pause.waits:
                continue
            began = pause.printed is None and (at_once or now - pause.since >= _COLLECT_FOR)
            if pause.count and (began or (again and pause.printed is not None and now - pause.printed >= REPEAT_EVERY)):
                lines.append((pause.files, pause.sentence))
                pause.printed, pause.count = now, 0
        return lines


def _is_over(pause: Pause, now: float) -> bool:
    return (
        now - pause.reported >= REPEAT_EVERY
        and pause.seconds(now) is None
        and not (pause.count and pause.printed is None)
    )
