"""Translates the errors of `persistence` into those of the transfer engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connector.errors import NO_RETRY, RETRY, BrokenError, ConnectorError, IntegrityError, LocalError
from persistence.errors import NotFound, PersistenceError, StorageFull, Unavailable


class MissingObjectError(LocalError):
    """The storage does not hold the object or upload (any more)."""


def as_connector_error(error: PersistenceError) -> ConnectorError:
    """The same error in the engine's families, with advice for its retry loop."""
    if isinstance(error, NotFound):
        return MissingObjectError(error.message, hint=error.hint)
    if isinstance(error, StorageFull):
        return LocalError(error.message, hint=error.hint)
    return BrokenError(error.message, hint=error.hint, advice=RETRY if isinstance(error, Unavailable) else NO_RETRY)


@contextmanager
def storage_failures() -> Iterator[None]:
    """Translate errors of `persistence` that the block raises into a `ConnectorError`."""
    try:
        yield
    except PersistenceError as error:
        raise as_connector_error(error) from error


def cut_short(what: str, expected: int, found: int) -> IntegrityError:
    """The error for an object that ends too early."""
    return IntegrityError(f"{what} ends after {found} bytes where {expected} were expected.")
