"""The report of files as they end: a line of text, a JSON object, and one exit code for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from connector.cli.console import Console
from connector.cli.screen import amount, span
from connector.errors import ConnectorError
from connector.transfer.outcome import AlreadyThere, Outcome

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
