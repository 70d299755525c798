"""What the engine reports: events to observers, and outcomes with errors of the five families. It never prints."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, cast

import attrs

from connector.errors import BrokenError, ConnectorError, LocalError

if TYPE_CHECKING:
    from persistence.errors import PersistenceError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
_log = logging.getLogger(__name__)

AlreadyThere = Literal["size", "record", "sha256"]
"""What was compared to find that a file need not be moved: its size only; its size and modification time with the
record of an earlier run that verified the file; or its size and the sha256 of its content."""


_MEMORY_HINT = "Allow more (ulimit -v, or the batch system's limit), or choose a smaller --memory; then run it again."
_THREADS_HINT = "Allow more threads (ulimit -u) or more memory (ulimit -v), then run the same command again."
_LOADER_OUT_OF_MEMORY = ("failed to map segment", "Cannot allocate memory", "cannot allocate memory")
_HINTS = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "Too many files are open on this machine: run the same command again later.",
    errno.ENOMEM: _MEMORY_HINT,
    errno.ENOSPC: "Free some space, then run the same command again.",
}


@attrs.frozen
class Outcome(Generic[T_co]):
    """The result of one transfer: a `value` or an `error`, never both."""

    label: str
    value: T_co | None = None
    error: ConnectorError | None = None

    @property
    def ok(self) -> bool:
        """Whether the transfer succeeded."""
        return self.error is None

    def unwrap(self) -> T_co:
        """The value; raises the transfer's error if it failed."""
        if self.error is not None:
            raise self.error
        return cast(T_co, self.value)


def as_connector_error(error: Exception) -> ConnectorError:
    """Return `error` if it is a `ConnectorError`, otherwise one whose cause it is.

    An error of the operating system gets a family. Everything else is a `ConnectorError` itself (family "error", exit
    code 1): a bug. Of a group, the first bug is returned, or the first error if there is no bug.
    """
    if isinstance(error, ExceptionGroup):
        found = [as_connector_error(one) for one in iter_leaf_errors(error)]
        return next((one for one in found if type(one) is ConnectorError), found[0])
    if isinstance(error, ConnectorError):
        return error
    ours = _translated(error)
    ours.__cause__ = error
    return ours


def is_bug(error: Exception) -> bool:
    """Whether an error is neither of a family nor of `persistence`, and not caused by this machine."""
    from persistence.errors import PersistenceError

    return not isinstance(error, PersistenceError) and type(as_connector_error(error)) is ConnectorError


_OF_NETWORKS = (ConnectionError, socket.gaierror, TimeoutError, ssl.SSLError)
"""The kinds of `OSError` that tell of another machine."""


def is_this_machines(error: PersistenceError) -> bool:
    """Whether a directory or an SQLite file has failed, and not a service."""
    from persistence.errors import StorageFull

    cause = error.__cause__
    local = isinstance(cause, OSError) and not isinstance(cause, _OF_NETWORKS)
    return isinstance(error, StorageFull) or local or type(cause).__module__ == "sqlite3"


def iter_leaf_errors(error: Exception) -> Iterator[Exception]:
    """Yield the single errors of a group, or the error itself."""
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from iter_leaf_errors(one)
    else:
        yield error


def drop_tracebacks(error: BaseException | None) -> None:
    """Drop the tracebacks of an error that was handled, of its causes and of its context.

    Their frames refer to the error again: such a cycle keeps what a step worked with until the garbage collector has
    searched the oldest objects, which happens rarely.
    """
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]


def _translated(error: Exception) -> ConnectorError:
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        network = isinstance(error, _OF_NETWORKS)
        hint = _HINTS.get(error.errno or 0, "")
        return (BrokenError if network else LocalError)(f"{place}{error.strerror or error}.", hint=hint)
    if isinstance(error, MemoryError):
        return LocalError("This machine has no memory left.", hint=_MEMORY_HINT)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return LocalError("This machine allows no more threads.", hint=_THREADS_HINT)
    if isinstance(error, ImportError) and any(cause in str(error) for cause in _LOADER_OUT_OF_MEMORY):
        return LocalError(f"This machine has no memory left to load a library: {error}.", hint=_MEMORY_HINT)
    if isinstance(error, UnicodeEncodeError):
        return LocalError(
            f"The encoding of this machine's file names ({error.encoding}) lacks a character of a name.",
            hint="Choose a locale whose encoding has all characters (LC_ALL=C.UTF-8).",
        )
    # Loaded here, since most commands meet no storage; of errors of this machine above, some forbid loading anything.
    from persistence.errors import Conflict, CredentialsRefused, Unavailable

    if isinstance(error, Unavailable | Conflict | CredentialsRefused):
        return (LocalError if is_this_machines(error) else BrokenError)(error.message, hint=error.hint)
    return ConnectorError(
        f"This is a bug in connector: {type(error).__name__}: {error}.",
        hint="Please report it with what --debug prints.",
    )


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
