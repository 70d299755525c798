"""The outcome of one transfer as a value, and the translation of any exception into the five families."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar, cast

import attrs

from connector.errors import BrokenError, ConnectorError, LocalError
from persistence.errors import Conflict, CredentialsRefused, PersistenceError, StorageFull, Unavailable

T_co = TypeVar("T_co", covariant=True)

AlreadyThere = Literal["size", "record", "sha256"]
"""What was compared to find that a file need not be moved: its size only; its size and modification time with the
record of an earlier run that verified the file; or its size and the sha256 of its content."""


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


_MEMORY_HINT = "Allow more (ulimit -v, or the batch system's limit), or choose a smaller --memory; then run it again."
_THREADS_HINT = "Allow more threads (ulimit -u) or more memory (ulimit -v), then run the same command again."
_LOADER_OUT_OF_MEMORY = ("failed to map segment", "Cannot allocate memory", "cannot allocate memory")
_HINTS = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "Too many files are open on this machine: run the same command again later.",
    errno.ENOMEM: _MEMORY_HINT,
    errno.ENOSPC: "Free some space, then run the same command again.",
}


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
    return not isinstance(error, PersistenceError) and type(as_connector_error(error)) is ConnectorError


_OF_NETWORKS = (ConnectionError, socket.gaierror, TimeoutError, ssl.SSLError)
"""The kinds of `OSError` that tell of another machine."""


def is_this_machines(error: PersistenceError) -> bool:
    """Whether a directory or an SQLite file has failed, and not a service."""
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
    if isinstance(error, Unavailable | Conflict | CredentialsRefused):
        return (LocalError if is_this_machines(error) else BrokenError)(error.message, hint=error.hint)
    if isinstance(error, UnicodeEncodeError):
        return LocalError(
            f"The encoding of this machine's file names ({error.encoding}) lacks a character of a name.",
            hint="Choose a locale whose encoding has all characters (LC_ALL=C.UTF-8).",
        )
    return ConnectorError(
        f"This is a bug in connector: {type(error).__name__}: {error}.",
        hint="Please report it with what --debug prints.",
    )
