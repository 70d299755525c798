"""A connection that breaks in the middle of a call, as when a primary is killed: MongoDB is asked again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import attrs
import pymongo.uri_parser
import pytest

from persistence.documents import Dao, Index, Transaction
from persistence.documents.mongodb import MongoDaoFactory
from persistence.testing.models import Job

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class CuttingProxy:
    """Passes bytes on; once armed, closes the connection instead of passing on the next command for a database."""

    def __init__(self, uri: str, database: str) -> None:
        self._target = pymongo.uri_parser.parse_uri(uri)["nodelist"][0]
        self._database = database.encode()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"mongodb://127.0.0.1:{self._server.getsockname()[1]}/?directConnection=true"
        self.armed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone leaves the thread in `accept`.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                database = socket.create_connection(self._target)
                for source, target in ((client, database), (database, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                # What the client's own monitor sends is for the database `admin`.
                if self.armed and self._database in data:
                    self.armed = False
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@attrs.frozen
class Cut:
    """A factory behind a proxy, and one of its DAOs, which has the documents 1 to 3."""

    proxy: CuttingProxy
    factory: MongoDaoFactory
    jobs: Dao[Job]


@pytest.fixture
async def cut(mongodb_server: str) -> AsyncIterator[Cut]:
    name = f"cut_{uuid4().hex[:8]}"
    proxy = CuttingProxy(mongodb_server, name)
    with contextlib.closing(proxy):
        async with MongoDaoFactory(proxy.uri, name, deadline=60) as factory:
            jobs = await factory.dao("jobs", Job, id_field="id")
            for number in (1, 2, 3):
                await jobs.insert(Job(number))
            yield Cut(proxy, factory, jobs)


async def find_all(cut: Cut) -> list[Job]:
    return [job async for job in cut.jobs.find_all()]


async def two_at_once(cut: Cut) -> Any:
    async def work(transaction: Transaction) -> None:
        await transaction.bind(cut.jobs).upsert(Job(1, owner="one"))
        await transaction.bind(cut.jobs).insert(Job(9))

    return await cut.factory.with_transaction(work)


CALLS: dict[str, Callable[[Cut], Awaitable[Any]]] = {
    "now": lambda cut: cut.factory.now(),
    "dao": lambda cut: cut.factory.dao("others", Job, id_field="id", indexes=[Index("owner")]),
    "get_by_id": lambda cut: cut.jobs.get_by_id(1),
    "find_all": find_all,
    "count": lambda cut: cut.jobs.count({"state": "new"}),
    "insert": lambda cut: cut.jobs.insert(Job(9)),
    "upsert": lambda cut: cut.jobs.upsert(Job(9)),
    "update": lambda cut: cut.jobs.update(Job(1, owner="one")),
    "delete": lambda cut: cut.jobs.delete(1),
    "compare_and_set": lambda cut: cut.jobs.compare_and_set(1, expected={"state": "new"}, changes={"state": "old"}),
    "transaction": two_at_once,
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_whose_connection_breaks_is_made_again(cut: Cut, call: str) -> None:
    cut.proxy.armed = True
    await CALLS[call](cut)
    assert not cut.proxy.armed
