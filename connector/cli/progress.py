"""Progress for people: one redrawn line on a terminal, a heartbeat line now and then anywhere else.

Events only count; something is drawn when :meth:`Progress.tick` is called, so a stall shows, too. The clock is
handed in.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from connector.cli.console import Console
from connector.errors import ConnectorError
from connector.transfer.outcome import Outcome

REDRAW_EVERY = 0.2
HEARTBEAT_EVERY = 10.0
RATE_WINDOW = 15.0
"""Seconds over which the rate is averaged: shorter jumps with every part, longer lies after a stall."""
STALL_AFTER = 20.0

_STEPS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def amount(size: float) -> str:
    """Return a number of bytes for reading: ``1.23 GB`` (powers of ten, like the MB/s beside it)."""
    for unit, factor in _STEPS:
        if size >= factor:
            return f"{size / factor:.2f} {unit}" if size < 100 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} B"


def _mebibytes(size: int) -> str:
    """Return a size as ``--memory`` takes it, rounded up."""
    return f"{-(-size // 2**20)}MiB"


def span(seconds: float) -> str:
    """Return a time for reading: ``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _of(label: str) -> str:
    # Calls that concern no file, as the first ones of a session, have no label.
    return f"{label}: " if label else ""


@attrs.define
class _File:
    size: int
    began: float
    moved: int = 0


class Meter:
    """Counts files and bytes, and knows the rate of the last seconds."""

    def __init__(self, now: float) -> None:
        self._files: dict[str, _File] = {}
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])
        self.last_byte = now
        self.moved = 0
        self.expected = 0
        self.done = 0
        self.failed = 0
        self.opened = 0

    def open(self, label: str, size: int, now: float) -> None:
        """Count a file of ``size`` bytes in."""
        if label not in self._files:
            self.opened += 1
        else:
            self.expected -= self._files[label].size
            self.moved -= self._files[label].moved
        self._files[label] = _File(size, now)
        self.expected += size

    def move(self, label: str, size: int, now: float) -> None:
        """Count bytes, or take back those of a failed try."""
        if label in self._files:
            self._files[label].moved += size
        self.moved += size
        if size > 0:
            self.last_byte = now

    def close(self, label: str, ok: bool, now: float) -> tuple[int, float] | None:
        """Count a file out; return its bytes and seconds, or None if it never was opened."""
        self.done += ok
        self.failed += not ok
        file = self._files.pop(label, None)
        if file is None:
            return None
        # Whatever a file did not move (a failed one, or one that was there already) is no longer to be expected.
        self.expected += file.moved - file.size
        return file.moved, now - file.began

    def rate(self, now: float) -> float:
        """Return bytes per second over the last :data:`RATE_WINDOW` seconds, and take a sample for later."""
        if now > self._samples[-1][0]:
            self._samples.append((now, self.moved))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_WINDOW:
            self._samples.popleft()
        began, moved = self._samples[0]
        return max(0.0, (self.moved - moved) / (now - began)) if now > began else 0.0

    def line(self, now: float) -> str:
        """Return the state of affairs in one line."""
        rate = self.rate(now)
        share = f" ({100 * min(self.moved, self.expected) // self.expected} %)" if self.expected else ""
        text = f"{self.done}/{self.opened} files, {amount(self.moved)} of {amount(self.expected)}{share}"
        if self.failed:
            text = f"{self.failed} FAILED, {text}"
        silence = now - self.last_byte
        if silence >= STALL_AFTER and self._files:
            return f"{text}, nothing for {span(silence)}"
        text += f", {rate / 1e6:.1f} MB/s"
        if rate > 0 and self.expected > self.moved:
            text += f", {span((self.expected - self.moved) / rate)} left"
        return text


class Progress:
    """Shows the state of affairs while a command runs."""

    def __init__(
        self,
        console: Console,
        *,
        terminal: bool,
        clock: Callable[[], float],
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._console = console
        self._terminal = terminal and not console.quiet
        self._clock = clock
        self._width = width
        self._drawn = False
        self._note = ""
        self._said: dict[str, float] = {}
        self._last_tick = clock()
        self.meter = Meter(clock())
        console.clear = self.clear

    @property
    def every(self) -> float:
        """Seconds between two ticks."""
        return REDRAW_EVERY if self._terminal else 1.0

    def opened(self, label: str, size: int) -> None:
        """Count a transfer in."""
        self.meter.open(label, size, self._clock())

    def progressed(self, label: str, size: int) -> None:
        """Count bytes."""
        self._note = ""
        self.meter.move(label, size, self._clock())

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """Remember why there is a pause; a person who watches sees it, a log gets a line."""
        then = "Starting again." if error.advice.restart else f"Trying again in {delay:.1f} s."
        self._say(f"{_of(label)}{error.message} {then}")

    def waiting(self, label: str, delay: float, why: str) -> None:
        """Remember what is waited for."""
        self._say(f"{_of(label)}waiting, {why}")

    def budget_raised(self, label: str, before: int, after: int) -> None:
        """Say that the memory budget grew: whoever planned the job's memory has to know."""
        self._console.tell(
            f"{_of(label)}one part takes {_mebibytes(after)}, so the memory budget grows to that from"
            f" {_mebibytes(before)}. A larger --memory moves several parts at once."
        )

    def closed(self, label: str, ok: bool) -> tuple[int, float] | None:
        """Count a transfer out; return the bytes that it moved and its seconds, or None if it never was opened."""
        self._note = ""
        return self.meter.close(label, ok, self._clock())

    def finished(self, outcome: Outcome[Any]) -> None:
        """Count a transfer out."""
        self.closed(outcome.label, outcome.ok)

    def tick(self) -> None:
        """Draw what there is to draw by now."""
        now = self._clock()
        if self._terminal:
            text = self.meter.line(now) + (f"  |  {self._note}" if self._note else "")
            # One column stays free: some terminals wrap as soon as the last one is written.
            self._write("\r\x1b[2K" + self._console.clean(text)[: max(1, self._width() - 1)])
            self._drawn = True
        elif not self._console.quiet and now - self._last_tick >= HEARTBEAT_EVERY:
            self._last_tick = now
            self._console.tell(self.meter.line(now))
        else:
            self.meter.rate(now)

    def clear(self) -> None:
        """Take the redrawn line away, so that something else can be printed."""
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[2K")

    def _say(self, text: str) -> None:
        if self._terminal:
            self._note = text
            return
        now = self._clock()
        # The same again and again, as while a file is staged, is said as rarely as the heartbeat.
        if now - self._said.get(text, -HEARTBEAT_EVERY) >= HEARTBEAT_EVERY:
            self._said = {said: when for said, when in self._said.items() if now - when < HEARTBEAT_EVERY}
            self._said[text] = now
            self._console.tell(text)

    def _write(self, text: str) -> None:
        self._console.err.write(text)
