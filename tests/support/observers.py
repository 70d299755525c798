"""Observers for tests: one that takes notes, and may act on what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from connector.errors import ConnectorError
from connector.transfer import Outcome


class Notes:
    """Keeps every event. ``on_opened`` and ``on_progress`` are called as such events come in."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.through: dict[str, int] = {}
        self.retries: list[tuple[str, ConnectorError, float]] = []
        self.waits: list[tuple[str, float, str]] = []
        self.budgets: list[tuple[str, int, int]] = []
        self.outcomes: list[Outcome[Any]] = []
        self.on_opened: Callable[[str], None] = lambda label: None
        self.on_progress: Callable[[str], None] = lambda label: None

    def opened(self, label: str, size: int) -> None:
        self.sizes[label] = size
        self.through.pop(label, None)  # of a try before
        self.on_opened(label)

    def progressed(self, label: str, size: int) -> None:
        self.through[label] = self.through.get(label, 0) + size
        self.on_progress(label)

    def kept(self, label: str, size: int) -> None:
        self.through[label] = self.through.get(label, 0) + size

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        self.retries.append((label, error, delay))

    def waiting(self, label: str, delay: float, why: str) -> None:
        self.waits.append((label, delay, why))

    def budget_raised(self, label: str, before: int, after: int) -> None:
        self.budgets.append((label, before, after))

    def finished(self, outcome: Outcome[Any]) -> None:
        self.outcomes.append(outcome)


def noting(times: list[float]) -> Callable[[object], bool]:
    """Note when something is asked for, and say no."""

    def note(request: object) -> bool:
        times.append(time.monotonic())
        return False

    return note
