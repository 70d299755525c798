"""The events that the engine reports. It never prints: observers do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from connector.errors import ConnectorError
from connector.transfer.outcome import Outcome

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Receives the events of transfers. Called from the event loop: must be quick and should not raise.

    When it raises, the transfer continues to its end, and its outcome is then that error. Observers that also have the
    methods `planned`, `kept` and `budget_raised` of `SilentObserver` receive these events, too.
    """

    def opened(self, label: str, size: int) -> None:
        """A transfer has begun; `size`: bytes that it will move in total. Called again when it restarts."""

    def progressed(self, label: str, size: int) -> None:
        """`size` more bytes were moved; negative after a failed try, whose bytes no longer count."""

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """A step failed and will be tried again after `delay` seconds."""

    def waiting(self, label: str, delay: float, why: str) -> None:
        """The transfer waits for `delay` seconds, as while the archive stages a file."""

    def finished(self, outcome: Outcome[Any]) -> None:
        """A transfer has ended."""


class SilentObserver:
    """An observer that does nothing."""

    def planned(self, files: Sequence[tuple[str, int | None]]) -> None:
        """A batch begins: the label of each file, and the size that `opened` will report if it is known already."""

    def opened(self, label: str, size: int) -> None:
        """Do nothing."""

    def kept(self, label: str, size: int) -> None:
        """`size` bytes of a file that was just opened need not be moved, since an earlier run has moved them.

        Negative when some turn out to be damaged and are moved again.
        """

    def progressed(self, label: str, size: int) -> None:
        """Do nothing."""

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """Do nothing."""

    def waiting(self, label: str, delay: float, why: str) -> None:
        """Do nothing."""

    def budget_raised(self, label: str, before: int, after: int) -> None:
        """One part of the transfer takes more than the memory budget of `before` bytes, which is now `after`."""

    def finished(self, outcome: Outcome[Any]) -> None:
        """Do nothing."""


class GuardedObserver:
    """Forwards events to an observer that may raise, and need not implement all of them.

    What it raises is kept for `checked`, or logged if the event concerns no file.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._failures: dict[str, Exception] = {}

    @classmethod
    def of(cls, observer: Observer) -> GuardedObserver:
        """Return the observer if it is guarded already, otherwise a guard for it."""
        return observer if isinstance(observer, cls) else cls(observer)

    def planned(self, files: Sequence[tuple[str, int | None]]) -> None:
        """See `SilentObserver.planned`."""
        self._notify("planned", "", files)

    def opened(self, label: str, size: int | None) -> None:
        """See `Observer.opened`; the size of a pipe is `None`."""
        self._notify("opened", label, label, size)

    def kept(self, label: str, size: int) -> None:
        """See `SilentObserver.kept`."""
        if size:
            self._notify("kept", label, label, size)

    def progressed(self, label: str, size: int) -> None:
        """See `Observer.progressed`."""
        self._notify("progressed", label, label, size)

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        """See `Observer.retried`."""
        self._notify("retried", label, label, error, delay)

    def waiting(self, label: str, delay: float, why: str) -> None:
        """See `Observer.waiting`."""
        self._notify("waiting", label, label, delay, why)

    def budget_raised(self, label: str, before: int, after: int) -> None:
        """See `SilentObserver.budget_raised`."""
        self._notify("budget_raised", label, label, before, after)

    def finished(self, outcome: Outcome[Any]) -> None:
        """See `Observer.finished`."""
        self._notify("finished", outcome.label, outcome)

    def checked(self, outcome: Outcome[T]) -> Outcome[T]:
        """Return the outcome, or the first error of the observer about this file if the transfer has none itself."""
        failure = self._failures.pop(outcome.label, None)
        if failure is None or not outcome.ok:
            return outcome
        error = ConnectorError(
            f"The transfer succeeded, but its observer raised {type(failure).__name__}: {failure}.",
            hint="The file is complete; correct the observer. If it is connector's own, report what --debug prints.",
        )
        error.__cause__ = failure
        return Outcome(outcome.label, error=error)

    def _notify(self, event: str, label: str, *arguments: object) -> None:
        notify = getattr(self._observer, event, None)
        if notify is None:
            return  # an event that this observer does not implement
        try:
            notify(*arguments)
        except Exception as error:
            if label:
                self._failures.setdefault(label, error)
            else:
                _log.warning("The observer raised %s in %s.", type(error).__name__, event, exc_info=error)
