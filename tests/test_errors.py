from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator

import pytest

import connector
from connector import errors
from connector.errors import (
    NO_RETRY,
    RENEW,
    RETRY,
    BrokenError,
    ConnectorError,
    FileExistsAlready,
    IntegrityError,
    LocalError,
    RefusedError,
    UsageError,
)
from persistence.errors import PersistenceError

FAMILIES = (UsageError, LocalError, RefusedError, BrokenError, IntegrityError)


def test_each_family_has_its_own_exit_code_and_name() -> None:
    assert [family.exit_code for family in FAMILIES] == [2, 3, 4, 5, 6]
    assert len({family.family for family in FAMILIES}) == len(FAMILIES)


def test_every_error_belongs_to_a_family() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) > len(FAMILIES)
    strays = [kind for kind in kinds if kind is not ConnectorError and not issubclass(kind, FAMILIES)]
    assert strays == []


@pytest.mark.parametrize("family", [*FAMILIES, FileExistsAlready])
def test_the_text_is_the_message_and_what_to_do(family: type[ConnectorError]) -> None:
    assert str(family("It failed.", hint="Try the other one.")) == "It failed. Try the other one."
    assert str(family("It failed.")) == "It failed."


@pytest.mark.parametrize("family", [*FAMILIES, FileExistsAlready])
def test_nothing_is_tried_again_unless_the_error_says_so(family: type[ConnectorError]) -> None:
    assert family("It failed.").advice == NO_RETRY
    assert family("It failed.", advice=RETRY).advice.again


def test_advice_tells_a_wait_of_nothing_from_no_wait_named() -> None:
    assert (RETRY.again, RETRY.after) == (True, None)
    assert (RENEW.again, RENEW.after) == (True, 0.0)
    assert not NO_RETRY.again


def test_a_refusal_keeps_status_and_id_of_the_archive() -> None:
    error = RefusedError("No.", status=409, exception_id="boxStateError")
    assert (error.status, error.exception_id) == (409, "boxStateError")


def _kinds(root: type[Exception]) -> Iterator[type[Exception]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


@pytest.mark.parametrize("root", [ConnectorError, PersistenceError])
def test_an_error_of_another_process_is_the_same(root: type[Exception]) -> None:
    """An error that cannot be unpickled breaks a pool of processes, or blocks `multiprocessing.Pool.map` for good."""
    assert issubclass(connector.NotReadyError, ConnectorError)  # it is loaded, and its constructor takes more
    kinds = list(_kinds(root))
    assert len(kinds) > 6
    for kind in kinds:
        error = kind.__new__(kind, "It failed.")
        error.__dict__.update(message="It failed.", hint="Wait.", fields=("alias",))
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert (type(twin), twin.args, str(twin)) == (kind, error.args, "It failed. Wait.")
            assert twin.__dict__ == error.__dict__
