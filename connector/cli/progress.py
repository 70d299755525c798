"""The progress display: lines that are redrawn on a terminal, otherwise a periodic line.

Events are only counted (`meter`, `pauses`); `Progress.tick` updates the display, so that stalls are shown, too. Its
layout is defined in `screen`. The clock is passed in.
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
"""The abilities of standard error: plain lines, one line that is redrawn, or several with cursor movement."""

REDRAW_EVERY = 0.2
HEARTBEAT_EVERY = 10.0
_SUSPENDED_AFTER = 2.0
"""Seconds without a tick after which other programs may have written to the terminal (this process was stopped)."""

_CURSOR_TERMINALS = re.compile(
    "xterm|screen|tmux|vt[1-5]|linux|rxvt|konsole|gnome|vte|alacritty|kitty|foot|wezterm|ghostty|iterm|nsterm|putty"
    "|mintty|cygwin|ansi|st-"
)
"""Beginnings of the names of terminals with cursor movement."""


def display_of(terminal: bool, environment: Mapping[str, str], *, platform: str = sys.platform) -> Display:
    """Return the abilities of standard error by the terminal's name, if it is a terminal."""
    if not terminal:
        return "log"
    if platform == "win32":
        return "screen" if "WT_SESSION" in environment else "line"
    return "screen" if _CURSOR_TERMINALS.match(environment.get("TERM", "")) else "line"


class Progress:
    """Observes transfers: displays their progress, and passes outcomes to the report.

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
        self._last_tick = self._last_line = clock()
        console.clear = self.clear

    @property
    def every(self) -> float:
        """Seconds between two ticks."""
        return 1.0 if self._display == "log" else REDRAW_EVERY

    def planned(self, files: Sequence[tuple[str, int | None]]) -> None:
        """Add all files of a batch."""
        self._meter.plan(files)
        if self._report is not None:
            self._report.plan(label for label, _ in files)

    def opened(self, label: str, size: int | None) -> None:
        """A transfer has begun."""
        self._meter.open(label, size, self._clock())

    def kept(self, label: str, size: int) -> None:
        """Count bytes that an earlier run has moved."""
        self._meter.keep(label, size)

    def progressed(self, label: str, size: int) -> None:
        """Count bytes."""
        self._meter.move(label, size, self._clock())

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """Record the cause of a pause; it is printed once, and displayed as long as it lasts."""
        then = "Starting again." if error.advice.restart else f"Trying again in {delay:.1f} s."
        self._pauses.add(label, error.message, then, delay, self._clock())

    def waiting(self, label: str, delay: float, why: str) -> None:
        """Record the cause of a wait."""
        self._pauses.add(label, why, "", delay, self._clock(), waits=True)

    def budget_raised(self, label: str, before: int, after: int) -> None:
        """Report that the memory budget grew, since a batch job has to request that memory."""
        self._console.info(
            f"one part takes {_mebibytes(after)}, so the memory budget grows to that from"
            f" {_mebibytes(before)}. A larger --memory moves several parts at once.",
            label=label,
        )

    def finished(self, outcome: Outcome[Any]) -> None:
        """Report the end of a transfer, with its bytes and seconds if it was opened."""
        if not outcome.ok:
            self._print_pauses(at_once=True)  # the causes of its retries are printed before its final error
        counted = self._meter.close(outcome.label, outcome.ok, self._clock())
        if self._report is not None:
            self._report.add(outcome, counted)

    def tick(self) -> None:
        """Update the display."""
        if self._console.quiet:
            return
        now = self._clock()
        if now - self._last_tick >= _SUSPENDED_AFTER:
            self._rows = 0
        self._last_tick = now
        self._print_pauses()
        if self._display == "log":
            self._log_progress(now)
        elif self._console.err.in_foreground():
            self._draw(now)

    def clear(self) -> None:
        """Remove the display, so that something else can be printed."""
        if self._rows:
            self._put([])

    def close(self) -> None:
        """Print the pending lines and remove the display."""
        self._print_pauses(at_once=True)
        self.clear()

    def _print_pauses(self, *, at_once: bool = False) -> None:
        # On a terminal a pause is displayed as long as it lasts; in a log its line is repeated.
        for files, sentence in self._pauses.due_lines(self._clock(), again=self._display == "log", at_once=at_once):
            self._console.info(sentence, label=files)

    def _log_progress(self, now: float) -> None:
        state = self._meter.state(now)
        if now - self._last_line >= HEARTBEAT_EVERY:
            self._last_line = now
            if state.moves:  # otherwise the pauses are printed
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
        """Replace the display by these lines. The cursor stays after the last one."""
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
