"""What the engine tells about its progress. It never prints; whoever wants to show something implements this."""

from __future__ import annotations

from typing import Any, Protocol

from connector.errors import ConnectorError
from connector.transfer.outcome import Outcome


class Observer(Protocol):
    """Receives the events of transfers. Called from the event loop: must be quick and must not raise."""

    def opened(self, label: str, size: int) -> None:
        """A transfer has begun; ``size``: bytes that it will move in all. Told again when it begins anew."""

    def progressed(self, label: str, size: int) -> None:
        """``size`` more bytes went through; negative when a failed try is taken back."""

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """A step failed and will be tried again after ``delay`` seconds."""

    def waiting(self, label: str, delay: float, why: str) -> None:
        """The archive asked to wait for ``delay`` seconds, as while a file is staged."""

    def finished(self, outcome: Outcome[Any]) -> None:
        """A transfer has ended."""


class SilentObserver:
    """An observer that does nothing."""

    def opened(self, label: str, size: int) -> None:
        """Do nothing."""

    def progressed(self, label: str, size: int) -> None:
        """Do nothing."""

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """Do nothing."""

    def waiting(self, label: str, delay: float, why: str) -> None:
        """Do nothing."""

    def finished(self, outcome: Outcome[Any]) -> None:
        """Do nothing."""
