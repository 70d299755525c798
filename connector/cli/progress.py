"""Progress for people: lines that are redrawn on a terminal, a heartbeat line now and then anywhere else.

Events only count (`meter`, `pauses`); something is shown when
`Progress.tick` is called, so a stall shows, too. What it looks like is decided in `screen`.
The clock is handed in.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from connector.cli import screen
from connector.cli.console import Console, neutralised
from connector.cli.meter import FileState, Meter
from connector.cli.pauses import Pauses
from connector.cli.report import Report
from connector.errors import ConnectorError
from connector.transfer.outcome import Outcome

Display = Literal["log", "line", "screen"]
"""What standard error can show: lines one after the other; one that is redrawn; or several, as the cursor moves."""

REDRAW_EVERY = 0.2
HEARTBEAT_EVERY = 10.0
_ASLEEP = 2.0
"""Seconds without a tick after which others may have written to the terminal, as when this process was stopped."""

_MOVES_THE_CURSOR = re.compile(
    "xterm|screen|tmux|vt[1-5]|linux|rxvt|konsole|gnome|vte|alacritty|kitty|foot|wezterm|ghostty|iterm|nsterm|putty"
    "|mintty|cygwin|ansi|st-"
)
"""The beginning of the names of terminals that do."""


def display_of(terminal: bool, environment: Mapping[str, str]) -> Display:
    """Return what standard error can show, if it is a terminal, by the name that the terminal gives itself."""
    if not terminal:
        return "log"
    if sys.platform == "win32":
        return "screen" if "WT_SESSION" in environment else "line"
    return "screen" if _MOVES_THE_CURSOR.match(environment.get("TERM", "")) else "line"


class Progress:
    """Observes transfers: shows how far they are, and passes what has ended to the report.

    `size` gives the columns and lines of the terminal.
    """

    def __init__(
        self,
        console: Console,
        *,
        display: Display,
        clock: Callable[[], float],
        size: Callable[[], os.terminal_size] | None = None,
        report: Report | None = None,
    ) -> None:
        self._console = console
        self._display = display
        self._clock = clock
        self._size = size or console.err.size
        self._report = report
        self._meter = Meter(clock())
        self._pauses = Pauses()
        self._rows = 0
        self._width = 0
        self._last_tick = self._last_beat = clock()
        console.clear = self.clear

    @property
    def every(self) -> float:
        """Seconds between two ticks."""
        return 1.0 if self._display == "log" else REDRAW_EVERY

    def planned(self, files: Sequence[tuple[str, int | None]]) -> None:
        """Count all files of a batch in."""
        self._meter.plan(files)
        if self._report is not None:
            self._report.plan(label for label, _ in files)

    def opened(self, label: str, size: int) -> None:
        """A transfer has begun."""
        self._meter.open(label, size, self._clock())

    def kept(self, label: str, size: int) -> None:
        """Count bytes that an earlier run has moved."""
        self._meter.keep(label, size)

    def progressed(self, label: str, size: int) -> None:
        """Count bytes."""
        self._meter.move(label, size, self._clock())

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """Remember why there is a pause; it is said once, and shown as long as it lasts."""
        then = "Starting again." if error.advice.restart else f"Trying again in {delay:.1f} s."
        self._pauses.add(label, error.message, then, delay, self._clock())

    def waiting(self, label: str, delay: float, why: str) -> None:
        """Remember what is waited for."""
        self._pauses.add(label, why, "", delay, self._clock(), waits=True)

    def budget_raised(self, label: str, before: int, after: int) -> None:
        """Say that the memory budget grew: a batch job has to be given that memory."""
        self._console.info(
            f"one part takes {_mebibytes(after)}, so the memory budget grows to that from"
            f" {_mebibytes(before)}. A larger --memory moves several parts at once.",
            label=label,
        )

    def finished(self, outcome: Outcome[Any]) -> None:
        """Count a transfer out, and report it with the bytes that it moved and its seconds if it was opened."""
        if not outcome.ok:
            self._say_pauses(at_once=True)  # the causes of its retries are printed before its final error
        counted = self._meter.close(outcome.label, outcome.ok, self._clock())
        if self._report is not None:
            self._report.add(outcome, counted)

    def tick(self) -> None:
        """Show what there is to show by now."""
        if self._console.quiet:
            return
        now = self._clock()
        if now - self._last_tick >= _ASLEEP:
            self._rows = 0
        self._last_tick = now
        self._say_pauses()
        if self._display == "log":
            self._beat(now)
        elif self._console.err.in_foreground():
            self._draw(now)

    def clear(self) -> None:
        """Take away what is drawn, so that something else can be printed."""
        if self._rows:
            self._put([])

    def close(self) -> None:
        """Say what was not said yet and take away what is drawn."""
        self._say_pauses(at_once=True)
        self.clear()

    def _say_pauses(self, *, at_once: bool = False) -> None:
        # On a terminal a pause can be seen as long as it lasts; in a log it has to be said again.
        for who, sentence in self._pauses.to_say(self._clock(), again=self._display == "log", at_once=at_once):
            self._console.info(sentence, label=who)

    def _beat(self, now: float) -> None:
        state = self._meter.state(now)
        if now - self._last_beat >= HEARTBEAT_EVERY:
            self._last_beat = now
            if state.moves:  # otherwise the pauses say what is waited for
                self._console.info(screen.one_line(state))

    def _draw(self, now: float) -> None:
        state = self._meter.state(now, newest=screen.NAMES)
        pauses = [
            screen.Waiting(self._shown(self._console.clean(pause.text)), seconds, len(pause.labels), pause.waits)
            for pause in self._pauses.current(now)
            if (seconds := pause.seconds(now)) is not None
        ]
        size = self._size()
        if self._display == "line":
            self._put([screen.single_line(state, pauses, width=size.columns)])
            return
        newest = tuple(FileState(self._shown(file.label), file.through, file.size) for file in state.newest)
        self._put(screen.lines(state, newest, pauses, width=size.columns, height=size.lines))

    def _shown(self, text: str) -> str:
        return self._console.err.encodable(neutralised(text))

    def _put(self, lines: list[str]) -> None:
        """Replace what is drawn by these lines. The cursor stays behind the last of them."""
        if self._display == "line":
            text = lines[0] if lines else ""
            blank = max(0, self._width - screen.columns(text))
            self._console.err.write(f"\r{text}{' ' * blank}" + ("" if lines else "\r"))
            self._width = screen.columns(text)
        else:
            up = f"\x1b[{self._rows - 1}A" if self._rows > 1 else ""
            self._console.err.write(f"\r{up}\x1b[J" + "\r\n".join(lines))
        self._rows = len(lines)


def _mebibytes(size: int) -> str:
    """Return a size as `--memory` takes it, rounded up: with less, the part would not fit."""
    return f"{-(-size // 1024**2)}MiB"
