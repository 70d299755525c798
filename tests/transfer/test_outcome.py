from __future__ import annotations

import errno
import sqlite3

import pytest

from connector.errors import BrokenError, ConnectorError, LocalError
from connector.transfer import Outcome, as_connector_error
from connector.transfer.reporting import is_bug
from persistence.errors import CredentialsRefused, StorageFull, TransactionConflict, Unreachable


def test_a_success_gives_its_value() -> None:
    assert Outcome("a", value=5).ok
    assert Outcome("a", value=5).unwrap() == 5


def test_nothing_is_a_value_too() -> None:
    assert Outcome[None]("a").ok
    assert Outcome[None]("a").unwrap() is None


def test_a_failure_raises_its_error() -> None:
    error = BrokenError("Cut.")
    outcome = Outcome[int]("a", error=error)
    assert not outcome.ok
    with pytest.raises(BrokenError) as caught:
        outcome.unwrap()
    assert caught.value is error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "family", "keyword"),
    [
        (OSError(errno.EMFILE, "Too many open files"), LocalError, "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left", "/data/a.part"), LocalError, "/data/a.part"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), BrokenError, "reset"),
        (OSError("no number"), LocalError, "no number"),
        (MemoryError(), LocalError, "--memory"),
        (RuntimeError("can't start new thread"), LocalError, "ulimit -u"),
        (ImportError("libcrypto.so: failed to map segment from shared object"), LocalError, "libcrypto"),
        (UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal not in range"), LocalError, "ascii"),
        (StorageFull("The disk is full."), LocalError, "full"),
        (caused(Unreachable("The directory is gone."), FileNotFoundError()), LocalError, "directory"),
        (caused(Unreachable("The database does not answer."), TimeoutError()), BrokenError, "database"),
        (caused(TransactionConflict("Locked."), sqlite3.OperationalError()), LocalError, "Locked"),
        (CredentialsRefused("The key is wrong."), BrokenError, "key"),
    ],
)
def test_what_the_surroundings_fail_of_has_a_family(
    error: Exception, family: type[ConnectorError], keyword: str
) -> None:
    ours = as_connector_error(error)
    assert type(ours) is family
    assert keyword in f"{ours} {ours.hint}"
    assert ours.__cause__ is error
    assert not is_bug(error)


@pytest.mark.parametrize("error", [RuntimeError("odd"), ImportError("no module"), KeyError("x"), ValueError("y")])
def test_everything_else_is_a_bug(error: Exception) -> None:
    ours = as_connector_error(error)
    assert type(ours) is ConnectorError
    assert type(error).__name__ in ours.message
    assert is_bug(error)


def test_of_a_group_the_bug_is_told() -> None:
    known, bug = BrokenError("Cut."), KeyError("x")
    assert as_connector_error(ExceptionGroup("", [known, ExceptionGroup("", [bug])])).__cause__ is bug
    assert as_connector_error(ExceptionGroup("", [known, OSError("second")])) is known
