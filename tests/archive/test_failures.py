"""What fails beneath the archive: which family of errors its commands tell, and what its clients are answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from connector.archive.config import MongodbDocuments
from connector.archive.models import Counter
from connector.archive.providers import make_documents, opening
from connector.archive.routes.answers import on_exhausted_machine, on_persistence_error
from connector.archive.routes.storage import read_content
from connector.archive.routes.wkvs import wkvs_routes
from connector.errors import BrokenError, ConnectorError, LocalError, UsageError
from persistence.documents.mongodb import MongoSettings
from persistence.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    DocumentExists,
    InvalidQuery,
    InvalidSettings,
    PersistenceError,
    ServiceFailed,
    StorageFull,
    TooLarge,
    TransactionConflict,
    Unreachable,
)
from tests.support.memory_archive import memory_archive

REQUEST = Request({"type": "http", "method": "GET", "path": "/x", "headers": []})


@pytest.mark.parametrize(
    ("error", "cause", "family"),
    [
        (Unreachable("No database."), TimeoutError(), BrokenError),
        (Unreachable("No folder."), FileNotFoundError(), LocalError),
        (DeadlineExceeded("Too late."), None, BrokenError),
        (InvalidSettings("Two names."), None, UsageError),
        (CredentialsRefused("Wrong password."), None, UsageError),
        (StorageFull("No room."), None, LocalError),
        (TransactionConflict("Again and again."), None, LocalError),
    ],
)
def test_what_cannot_be_opened_is_of_a_family(
    error: PersistenceError, cause: Exception | None, family: type[ConnectorError]
) -> None:
    error.__cause__ = cause
    with pytest.raises(family) as caught, opening("The database"):
        raise error
    assert type(caught.value) is family
    assert "The database cannot be used" in caught.value.message
    assert error.message in caught.value.message


@pytest.mark.trio
async def test_writes_are_acknowledged_whatever_the_uri_says(mongodb_databases: Callable[[], MongoSettings]) -> None:
    settings = mongodb_databases()
    config = MongodbDocuments(uri=settings.uri + "&w=0&readPreference=secondary", database=settings.database)
    async with await make_documents(config) as documents:
        counters = await documents.dao("counters", Counter, id_field="id")
        await counters.insert(Counter("one", 1))
        with pytest.raises(DocumentExists):
            await counters.insert(Counter("one", 2))
        assert (await counters.get_by_id("one")).value == 1


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(UsageError, match="pymongo") as caught, opening("The database"):
        raise ImportError(name="pymongo")
    assert "pip install" in caught.value.hint


def test_a_file_that_cannot_be_used_is_named() -> None:
    with pytest.raises(LocalError, match="/data/archive"), opening("The storage"):
        raise PermissionError(13, "Permission denied", "/data/archive")


@pytest.mark.trio
@pytest.mark.parametrize(
    ("error", "status", "keyword"),
    [
        (ServiceFailed("Not now."), 503, "does not answer"),
        (TransactionConflict("Again."), 503, "does not answer"),
        (CredentialsRefused("Wrong password."), 503, "does not answer"),
        (StorageFull("No room."), 503, "no room"),
        (InvalidQuery("A bug of ours."), 500, "internal error"),
    ],
)
async def test_clients_are_told_to_come_again_unless_it_is_a_bug(
    error: PersistenceError, status: int, keyword: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await on_persistence_error(REQUEST, error)
    assert answer.status_code == status
    body = json.loads(bytes(answer.body))
    assert keyword in body["description"]
    assert error.message not in body["description"], "that is for the log"
    assert error.message in caplog.text
    assert (answer.headers.get("retry-after") is not None) is (status == 503)


@pytest.mark.trio
async def test_a_machine_without_resources_is_no_bug() -> None:
    answer = await on_exhausted_machine(REQUEST, MemoryError())
    assert answer.status_code == 503
    with pytest.raises(RuntimeError, match="a bug"):
        await on_exhausted_machine(REQUEST, RuntimeError("a bug"))


class Huge(bytes):
    def __len__(self) -> int:
        return 3 * 1024**3


@pytest.mark.trio
async def test_a_body_that_no_part_may_have_is_given_up() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield Huge(b"x")

    pieces = read_content(body())
    assert await anext(pieces) == b"x"
    with pytest.raises(TooLarge):
        await anext(pieces)


@pytest.mark.trio
async def test_each_well_known_value_has_its_address() -> None:
    async with memory_archive() as archive:
        app = Starlette(routes=wkvs_routes(archive.hubs, "http://archive"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
            every = (await client.get("/values")).json()
            for name, value in every.items():
                assert (await client.get(f"/values/{name}")).json() == {name: value}
            missing = await client.get("/values/nothing")
    assert every["dcs_api_url"] == "http://archive/dcs"
    assert missing.status_code == 404
    assert missing.json()["exception_id"] == "valueNotConfigured"
