"""A write that was given up never takes effect after a later one that was acknowledged."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import anyio
import pymongo.uri_parser
import pytest
from pymongo import MongoClient

from persistence.documents import Dao
from persistence.documents.mongodb import MongoDaoFactory
from persistence.errors import PersistenceError, Unavailable
from persistence.testing.models import Job
from persistence.testing.servers import run_mongod

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops mongod by a signal"),
]

T = TypeVar("T")

DEADLINE = 1.5
HELD_FOR = 2.0
TRIES = [pytest.param(2, id="few"), pytest.param(20, id="many", marks=pytest.mark.soak)]
WAYS = ["deadline", "cancelled", "transaction", "cancelled transaction"]


@pytest.fixture(scope="module")
def own_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mongod(tmp_path_factory.mktemp("stopped")) as uri:
        yield uri


@contextlib.contextmanager
def stopped(uri: str) -> Iterator[None]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        pid = client.admin.command("serverStatus")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def give_up(factory: MongoDaoFactory, jobs: Dao[Job], value: str, way: str) -> None:
    """Upsert a value where no answer comes."""
    with anyio.move_on_after(0.3 if "cancelled" in way else 10), pytest.raises(PersistenceError):
        await upsert(factory, jobs, value, in_transaction="transaction" in way)


async def upsert(factory: MongoDaoFactory, jobs: Dao[Job], value: str, *, in_transaction: bool) -> None:
    if not in_transaction:
        await jobs.upsert(Job(1, owner=value))
        return
    async with factory.transaction() as transaction:
        await transaction.bind(jobs).upsert(Job(1, owner=value))


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call on a machine that is too busy for the short deadline."""
    with anyio.fail_after(180):
        while True:
            try:
                return await call()
            except Unavailable:
                continue


async def write_until_acknowledged(jobs: Dao[Job], value: str) -> None:
    await until_answered(lambda: jobs.upsert(Job(1, owner=value)))


@contextlib.asynccontextmanager
async def opened(uri: str, name: str, deadline: float) -> AsyncIterator[tuple[MongoDaoFactory, Dao[Job]]]:
    factory = MongoDaoFactory(uri, name, deadline=deadline)
    await until_answered(factory.__aenter__)
    try:
        yield factory, await until_answered(lambda: factory.dao("jobs", Job, id_field="id"))
    finally:
        await factory.__aexit__(None, None, None)


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("callers", [2, 3, 20])
@pytest.mark.parametrize("way", WAYS)
async def test_writes_given_up_while_the_server_was_stopped(
    own_mongod: str, anyio_backend: str, way: str, callers: int, tries: int
) -> None:
    old = 0
    for number in range(tries):
        async with opened(own_mongod, f"late_{anyio_backend}", DEADLINE) as (factory, jobs):
            await write_until_acknowledged(jobs, "first")
            with stopped(own_mongod):
                async with anyio.create_task_group() as tasks:
                    for caller in range(callers):
                        tasks.start_soon(give_up, factory, jobs, f"old {caller}", way)
            await write_until_acknowledged(jobs, f"new {number}")
            for pause in (0, 0.3):
                await anyio.sleep(pause)
                old += (await until_answered(lambda: jobs.get_by_id(1))).owner != f"new {number}"
    assert old == 0


class HoldingProxy:
    """Passes bytes on. Those with a marker, and all after them, it delivers two seconds after the client has closed."""

    def __init__(self, uri: str, marker: bytes) -> None:
        self._target = pymongo.uri_parser.parse_uri(uri)["nodelist"][0]
        self._marker = marker
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"mongodb://127.0.0.1:{self._server.getsockname()[1]}/?directConnection=true"
        self.delivered = 0
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
        held = b""
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if held or self._marker in data:
                    held += data
                else:
                    database.sendall(data)
        with contextlib.suppress(OSError):
            if held:
                time.sleep(HELD_FOR)
                database.sendall(held)
                self.delivered += 1
                time.sleep(0.5)
            database.shutdown(socket.SHUT_RDWR)

    def _down(self, database: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError), database, client:
            while data := database.recv(1 << 16):
                with contextlib.suppress(OSError):
                    client.sendall(data)


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("way", WAYS)
async def test_writes_given_up_that_a_proxy_delivers_later(
    own_mongod: str, anyio_backend: str, way: str, tries: int
) -> None:
    proxy = HoldingProxy(own_mongod, b"held back")
    results: list[str | None] = []
    five_at_once = anyio.Semaphore(5)

    async def try_once(number: int) -> None:
        async with five_at_once, opened(proxy.uri, f"held_{anyio_backend}_{number}", DEADLINE) as (factory, jobs):
            await write_until_acknowledged(jobs, "first")
            await give_up(factory, jobs, "held back", way)
            await write_until_acknowledged(jobs, "new")
            await anyio.sleep(HELD_FOR + 1.5)
            results.append((await until_answered(lambda: jobs.get_by_id(1))).owner)

    async with anyio.create_task_group() as tasks:
        for number in range(tries):
            tasks.start_soon(try_once, number)
    proxy.close()
    assert proxy.delivered >= tries
    assert results == ["new"] * tries


async def test_a_write_that_waits_for_a_lock_when_it_is_given_up_does_not_delay_others(own_mongod: str) -> None:
    async with MongoDaoFactory(own_mongod, "locked", deadline=20) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.upsert(Job(1, owner="first"))
        async with factory.transaction() as transaction:
            bound = transaction.bind(jobs)
            await bound.upsert(Job(1, owner="transaction"))
            with anyio.move_on_after(0.3):
                await jobs.upsert(Job(1, owner="old"))
            began = time.monotonic()
            await jobs.upsert(Job(2))
            await bound.upsert(Job(3))
            assert time.monotonic() - began < 15, "and not as long as the deadline"
        assert (await jobs.get_by_id(1)).owner == "transaction"
