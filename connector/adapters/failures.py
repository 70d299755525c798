"""What the errors of `persistence` mean to the transfer engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connector.errors import NO_RETRY, RETRY, BrokenError, ConnectorError, IntegrityError, LocalError
from persistence.errors import NotFound, PersistenceError, StorageFull, Unavailable


class MissingObjectError(LocalError):
    """The storage does not hold what was to be read or written (any more)."""


def as_connector_error(error: PersistenceError) -> ConnectorError:
    """The same error in the engine's families, with advice for its retry loop."""
    if isinstance(error, NotFound):
        return MissingObjectError(error.message, hint=error.hint)
    if isinstance(error, StorageFull):
        return LocalError(error.message, hint=error.hint)
    return BrokenError(error.message, hint=error.hint, advice=RETRY if isinstance(error, Unavailable) else NO_RETRY)


@contextmanager
def storage_failures() -> Iterator[None]:
    """Within this block an error of `persistence` becomes a `ConnectorError`."""
    try:
        yield
    except PersistenceError as error:
        raise as_connector_error(error) from error


def cut_short(what: str, expected: int, found: int) -> IntegrityError:
    """The error for an object that ends too early."""
    return IntegrityError(f"{what} ends after {found} bytes where {expected} were expected.")
