"""Every exception as an error of the five families, or as what it then is: a bug."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from connector.errors import BrokenError, ConnectorError, LocalError


def as_connector_error(error: Exception) -> ConnectorError:
    """Return ``error`` if it is one of ours, otherwise one of ours whose cause it is.

    Errors of the operating system should have been put in a family where they arose; one that was not is still no bug
    to the person whose disk is full. All else is :class:`~connector.errors.ConnectorError` itself (family "error", exit
    code 1). Of a group only the first bug counts, or the first error if there is no bug.
    """
    if isinstance(error, ExceptionGroup):
        found = [as_connector_error(one) for one in iter_leaf_errors(error)]
        return next((one for one in found if type(one) is ConnectorError), found[0])
    if isinstance(error, ConnectorError):
        return error
    ours = _translated(error)
    ours.__cause__ = error
    return ours


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
        network = isinstance(error, ConnectionError | socket.gaierror | TimeoutError | ssl.SSLError)
        return (BrokenError if network else LocalError)(f"{place}{error.strerror or error}.")
    if isinstance(error, MemoryError):
        return LocalError(
            "This machine has no memory left.",
            hint="Choose a smaller --memory, or ask the batch system for more; then run the same command again.",
        )
    return ConnectorError(
        f"This is a bug in connector: {type(error).__name__}: {error}.",
        hint="Please report it with what --debug prints.",
    )
