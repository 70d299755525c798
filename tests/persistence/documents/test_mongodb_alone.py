"""Calls that are alone go another way, and mean the same."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import anyio
import pymongo.uri_parser
import pytest

from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.mongodb.polling import processors
from persistence.errors import DocumentExists, TooLarge
from persistence.testing.models import Job

pytestmark = pytest.mark.anyio


@pytest.fixture
async def factory(mongodb: str) -> AsyncIterator[MongoDaoFactory]:
    async with MongoDaoFactory(mongodb, f"alone_{uuid4().hex[:8]}", deadline=5) as factory:
        yield factory
        await factory.drop_database()


class Line:
    """A line to the database that swallows the answer to the next message holding ``lost``, and breaks."""

    def __init__(self, uri: str) -> None:
        self._target = pymongo.uri_parser.parse_uri(uri)["nodelist"][0]
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"mongodb://127.0.0.1:{self._server.getsockname()[1]}/?directConnection=true"
        self.lost: bytes | None = None
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                database = socket.create_connection(self._target)
                threading.Thread(target=self._up, args=(client, database), daemon=True).start()
                threading.Thread(target=self._down, args=(database, client), daemon=True).start()

    def _up(self, client: socket.socket, database: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self.lost is not None and self.lost in data:
                    self.lost = None
                    client.shutdown(socket.SHUT_RDWR)
                    database.sendall(data)
                    self.broken += 1
                    return
                database.sendall(data)
        with contextlib.suppress(OSError):
            database.shutdown(socket.SHUT_RDWR)

    def _down(self, database: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError), database, client:
            while data := database.recv(1 << 16):
                client.sendall(data)


@pytest.fixture
def line(mongodb: str) -> Iterator[Line]:
    line = Line(mongodb)
    yield line
    line.close()


async def test_an_insert_whose_answer_is_lost_is_sent_again_and_done_once(mongodb: str, line: Line) -> None:
    async with MongoDaoFactory(line.uri, f"alone_{uuid4().hex[:8]}", deadline=5) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert(Job(1))
        line.lost = b"insert\0"
        await jobs.insert(Job(2))
        assert line.broken == 1
        assert await jobs.count() == 2
        with pytest.raises(DocumentExists):
            await jobs.insert(Job(2))
        await factory.drop_database()


async def test_a_lone_document_that_is_too_large(factory: MongoDaoFactory) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    with pytest.raises(TooLarge):
        await jobs.insert(Job(1, owner="x" * (16 * 1024**2 + 1)))
    with pytest.raises(TooLarge):
        await jobs.insert(Job(1, owner="x" * (16 * 1024**2 - 20)))
    assert await jobs.count() == 0


async def test_a_call_left_behind_takes_the_lane_until_it_ends(factory: MongoDaoFactory) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    await jobs.insert(Job(1))
    lane = factory._lane
    assert lane is not None
    until = threading.Event()
    with anyio.move_on_after(0.05) as scope:
        await lane.run(lambda _: until.wait(5), 5)
    assert scope.cancelled_caught
    assert not lane.free
    assert await jobs.get_by_id(1) == Job(1)
    until.set()
    while not lane.free:
        await anyio.sleep(0.01)
    assert await jobs.get_by_id(1) == Job(1)


async def test_the_lane_keeps_the_deadline(factory: MongoDaoFactory) -> None:
    lane = factory._lane
    assert lane is not None
    began = time.monotonic()
    until = threading.Event()
    with pytest.raises(TimeoutError):
        await lane.run(lambda _: until.wait(5), 0.1)
    assert time.monotonic() - began < 8
    assert not lane.free
    until.set()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_lone_read_takes_the_lane_where_answers_take_long(factory: MongoDaoFactory) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    await jobs.insert(Job(1))
    loop = factory._loop
    assert loop is not None
    for _ in range(20):
        loop.took(1.0)
    assert factory.alone
    assert await jobs.get_by_id(1) == Job(1)
    assert await jobs.find_one({"owner": None}) == Job(1)
    assert factory.alone


async def test_lone_reads_of_a_near_database_stay_with_the_loop(factory: MongoDaoFactory) -> None:
    assert factory._loop is not None
    if sys.platform == "linux" and processors() > 1:
        assert factory._loop.prompt
        assert not factory.alone
