"""What is said about files as they end: a line for people, a JSON object for machines, one exit code for the lot."""

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
"""Seconds below which a rate says more about the clock than about the transfer."""
_COMPARED: Mapping[AlreadyThere, str] = {
    "size": "only the size was compared",
    "record": "unchanged since an earlier run finished it",
    "sha256": "size and sha256 compared",
}


def error_fields(error: ConnectorError) -> dict[str, object]:
    """Return what a JSON line says about an error."""
    return {
        "family": error.family,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def value_fields(value: object) -> dict[str, object]:
    """Return what a JSON line says about the result of a transfer: its public fields."""
    kind = type(value)
    if not attrs.has(kind):
        return {}
    fields = {field.name: getattr(value, field.name) for field in attrs.fields(kind) if field.repr}
    return {name: field.hex() if isinstance(field, bytes) else field for name, field in fields.items()}


def already_there(outcome: Outcome[Any]) -> AlreadyThere | None:
    """Return what was compared of a file that was there before this run, `None` for any other."""
    return getattr(outcome.value, "already_there", None)


class Report:
    """Tells of each file once, and knows the exit code.

    `verb` says what a finished file is ("downloaded"). The JSON object of a finished file holds the fields of its
    outcome's value.
    """

    def __init__(self, console: Console, *, verb: str) -> None:
        self._console = console
        self._verb = verb
        self._told: list[Outcome[Any]] = []
        self._planned: list[str] = []

    def plan(self, labels: Iterable[str]) -> None:
        """Know of the files that are to be moved."""
        self._planned += labels

    def add(self, outcome: Outcome[Any], counted: tuple[int, float] | None = None) -> None:
        """Tell of a file that has ended; `counted` holds the bytes moved for it and the seconds they took."""
        self._told.append(outcome)
        if outcome.error is not None:
            if type(outcome.error) is ConnectorError:  # no family: what should not have happened
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
        """Tell of what was not told yet, and of all together; return the exit code of the command.

        That is the highest code among the failed files, so that one failure among many is never 0.
        """
        told = {id(outcome) for outcome in self._told}
        for outcome in outcomes:
            if id(outcome) not in told:
                self.add(outcome)
        codes = [outcome.error.exit_code for outcome in outcomes if outcome.error is not None]
        if len(outcomes) > 1:
            before = sum(already_there(outcome) is not None for outcome in outcomes)
            earlier = f", {before} of them there already" if before else ""
            failed = f", {len(codes)} failed" if codes else ""
            self._console.info(f"{len(outcomes) - len(codes)} of {len(outcomes)} files {self._verb}{earlier}{failed}.")
        return max(codes, default=0)

    def interrupt(self, why: str, *, hint: str, exit_code: int) -> None:
        """Tell of the files that are unfinished because the run was asked to stop."""
        left = Counter(self._planned)
        left.subtract(outcome.label for outcome in self._told)  # two files of one name are two
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
