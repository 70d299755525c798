"""What a command says about its files: the progress display, and the report of each as it ends.

On a terminal the display is lines that are redrawn, otherwise a periodic line. Events are only counted (`meter`);
`Progress.tick` updates the display, so that stalls are shown, too. Its layout is defined in `screen`. The clock is
passed in.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from connector.cli import screen
from connector.cli.console import Console, amount, neutralised, span
from connector.cli.meter import FileState, Meter, Pauses
from connector.errors import ConnectorError
from connector.transfer.reporting import AlreadyThere, Outcome

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

SHORTEST_RATE = 0.1
"""Seconds below which a rate is too inaccurate to be printed."""
_COMPARED: Mapping[AlreadyThere, str] = {
    "size": "only the size was compared",
    "record": "unchanged since an earlier run finished it",
    "sha256": "size and sha256 compared",
}


def error_fields(error: ConnectorError) -> dict[str, object]:
    """Return the JSON fields of an error."""
    return {
        "family": error.family,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def value_fields(value: object) -> dict[str, object]:
    """Return the JSON fields of the result of a transfer: its public fields."""
    kind = type(value)
    if not attrs.has(kind):
        return {}
    fields = {field.name: getattr(value, field.name) for field in attrs.fields(kind) if field.repr}
    return {name: field.hex() if isinstance(field, bytes) else field for name, field in fields.items()}


def already_there(outcome: Outcome[Any]) -> AlreadyThere | None:
    """Return what was compared of a file that existed before this run, `None` for any other."""
    return getattr(outcome.value, "already_there", None)


class Report:
    """Reports each file once, and computes the exit code.

    `verb` is the word for a finished file ("downloaded"). The JSON object of a finished file has the fields of its
    outcome's value.
    """

    def __init__(self, console: Console, *, verb: str) -> None:
        self._console = console
        self._verb = verb
        self._reported: list[Outcome[Any]] = []
        self._planned: list[str] = []

    def plan(self, labels: Iterable[str]) -> None:
        """Add the files that are to be moved."""
        self._planned += labels

    def add(self, outcome: Outcome[Any], counted: tuple[int, float] | None = None) -> None:
        """Report a file that has ended; `counted`: the bytes moved for it and the seconds they took."""
        self._reported.append(outcome)
        if outcome.error is not None:
            if type(outcome.error) is ConnectorError:  # no family: a bug
                self._console.trace(outcome.error)
            self._console.error(str(outcome.error), label=outcome.label)
            fields = {"name": outcome.label, "ok": False, "error": error_fields(outcome.error)}
        else:
            there = already_there(outcome)
            became = f"{self._verb}{_figures(counted)}" if there is None else f"there already, {_COMPARED[there]}"
            self._console.info(became, label=outcome.label)
            fields = {"name": outcome.label, "ok": True, **value_fields(outcome.value)}
        self._console.record(fields)

    def conclude(self, outcomes: Sequence[Outcome[Any]]) -> int:
        """Report the files that were not reported yet, and a summary; return the exit code of the command.

        That is the highest code among the failed files, so that one failure among many is never 0.
        """
        reported = {id(outcome) for outcome in self._reported}
        for outcome in outcomes:
            if id(outcome) not in reported:
                self.add(outcome)
        codes = [outcome.error.exit_code for outcome in outcomes if outcome.error is not None]
        if len(outcomes) > 1:
            before = sum(already_there(outcome) is not None for outcome in outcomes)
            earlier = f", {before} of them there already" if before else ""
            failed = f", {len(codes)} failed" if codes else ""
            self._console.info(f"{len(outcomes) - len(codes)} of {len(outcomes)} files {self._verb}{earlier}{failed}.")
        return max(codes, default=0)

    def interrupt(self, why: str, *, hint: str, exit_code: int) -> None:
        """Report the files that are unfinished because the run was stopped."""
        left = Counter(self._planned)
        left.subtract(outcome.label for outcome in self._reported)  # two files of one name are two
        unfinished = list((+left).elements())
        error = {"family": "interrupted", "message": why, "hint": hint, "exit_code": exit_code}
        for label in unfinished:
            self._console.record({"name": label, "ok": False, "error": error})
        if len(self._planned) > 1:
            verb = "is" if len(unfinished) == 1 else "are"
            self._console.info(f"{len(unfinished)} of {len(self._planned)} files {verb} unfinished.")


def _figures(counted: tuple[int, float] | None) -> str:
    if counted is None:
        return ""
    size, seconds = counted
    rate = f", {size / seconds / 1e6:.1f} MB/s" if seconds >= SHORTEST_RATE else ""
    return f", {amount(size)} in {span(seconds)}{rate}"


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
            screen.pause_line(
                self._shown(self._console.clean(pause.text)), seconds, files=len(pause.labels), waits=pause.waits
            )
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
