"""Processes of an archive that stop for a while, as on a machine that swaps or migrates, do not hold the others up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pymongo
import pytest

from connector.archive.config import MongodbDocuments
from persistence.testing.servers.processes import free_ports
from tests.support.archive_cluster import ArchiveCluster
from tests.support.contract_client import ContractClient, new_private_key, public_of
from tests.support.served_archive import end, read_url, start
from tests.support.stopping_proxy import StoppingProxy

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops processes by a signal")

MOST = 1.0
"""Seconds that a call may take meanwhile, on a machine that does nothing else."""
BUSY = 10.0
"""The same on one that is busy; what a stopped process holds it holds for longer."""
LIFETIME = 3
"""Seconds after which MongoDB ends a transaction whose client is silent; a minute by default."""


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def asking(user: ContractClient, cluster: ArchiveCluster, port: int) -> ContractClient:
    """The same user, who asks one serving process and not nginx."""
    direct = f"http://127.0.0.1:{port}"
    found = ContractClient(f"{direct}/.well-known", user.access_token, user.private_key, user.http)
    found.values = {
        name: value.replace(cluster.url, direct) if isinstance(value, str) else value
        for name, value in found.values.items()
    }
    return found


class Stopwatch:
    def __init__(self) -> None:
        self.longest: dict[str, float] = {}

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.longest[what] = max(self.longest.get(what, 0.0), time.monotonic() - began)


def use(user: ContractClient, file_id: str, watch: Stopwatch, name: str) -> None:
    """Fetch a token and a part's URL, create an upload and delete it."""
    with watch.measuring("token"):
        token = user.upload_token("upload", file_id=file_id)
    with watch.measuring("part URL"):
        assert user.part_url(file_id, 1, token=token).status_code == 200
    with watch.measuring("creation"):
        created = user.create(name, user.seal(b"content"))
    assert created.status_code == 201, created.text
    with watch.measuring("deletion"):
        assert user.delete(created.json()["file_id"]).status_code == 204


@pytest.fixture
def user(cluster: ArchiveCluster, http: httpx.Client) -> ContractClient:
    key = new_private_key()
    return ContractClient(cluster.wkvs_url, cluster.grant_upload(public_of(key)), key, http)


@pytest.mark.parametrize(("seconds", "most"), [(1.5, BUSY), pytest.param(5, MOST, marks=pytest.mark.soak)])
def test_a_stopped_process_does_not_hold_up_the_others(
    cluster: ArchiveCluster, user: ContractClient, seconds: float, most: float
) -> None:
    first, second = (asking(user, cluster, port) for port in cluster.ports)
    file_id = first.create("first", user.seal(b"content")).json()["file_id"]
    tokens = [first.upload_token("upload", file_id=file_id) for _ in range(8)]
    watch = Stopwatch()
    with ThreadPoolExecutor(16) as threads:
        with stopped(cluster.servers[0].pid, cluster.workers[0].pid):
            waiting = [threads.submit(first.part_url, file_id, 1, token=token) for token in tokens]
            waiting += [threads.submit(first.upload_order, "upload", file_id=file_id) for _ in range(8)]
            file = second.seal(os.urandom(1000))
            sent = second.upload("sent", file)
            until = time.monotonic() + seconds
            turn = 0
            while time.monotonic() < until:
                use(second, file_id, watch, f"created-{turn}")
                turn += 1
            assert cluster.wait_for_file(sent)["accession"]
            assert not any(one.done() for one in waiting)
        # What was asked of the stopped one is answered then.
        assert {one.result().status_code for one in waiting} == {200, 201}
    print(f"{turn} turns, seconds at most: {watch.longest}")
    assert all(longest < most for longest in watch.longest.values()), watch.longest


@pytest.fixture
def transaction_lifetime(mongodb_replica_set: str) -> Iterator[float]:
    """A lifetime of transactions as docs/archive.md advises it."""
    name = "transactionLifetimeLimitSeconds"
    with pymongo.MongoClient[dict[str, object]](mongodb_replica_set) as client:
        hosts: list[str] = client.admin.command("hello")["hosts"]
    with ExitStack() as stack:
        for host in hosts:
            one = pymongo.MongoClient[dict[str, object]](f"mongodb://{host}/?directConnection=true")
            admin: Any = stack.enter_context(one).admin
            before = admin.command("getParameter", 1, **{name: 1})[name]
            admin.command("setParameter", 1, **{name: LIFETIME})
            stack.callback(admin.command, "setParameter", 1, **{name: before})
        yield LIFETIME


@contextmanager
def one_more(cluster: ArchiveCluster, uri: str) -> Iterator[tuple[int, int]]:
    """One more serving process, which reaches MongoDB under this URI; its PID and its port."""
    config = cluster.config.documents
    assert isinstance(config, MongodbDocuments)
    file = cluster.config_file.with_name("one-more.toml")
    file.write_text(cluster.config_file.read_text().replace(config.uri, uri))
    port = free_ports(1)
    log = file.with_suffix(".log")
    process = start("serve", log, "--config", file, "--port", str(port))
    try:
        read_url(process, log)
        yield process.pid, port
    finally:
        end(process, log)


@pytest.mark.soak
def test_a_process_that_stops_in_a_transaction_holds_up_its_box_alone_and_not_for_long(
    cluster: ArchiveCluster,
    user: ContractClient,
    http: httpx.Client,
    mongodb_replica_set: str,
    transaction_lifetime: float,
) -> None:
    key = new_private_key()
    other = ContractClient(cluster.wkvs_url, cluster.grant_upload(public_of(key)), key, http)
    with ExitStack() as stack:
        client = stack.enter_context(pymongo.MongoClient[dict[str, object]](mongodb_replica_set))
        client.admin.command("ping")
        assert client.primary is not None
        proxy = stack.enter_context(StoppingProxy(client.primary).running())
        uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true&w=majority"
        pid, port = stack.enter_context(one_more(cluster, uri))
        threads = stack.enter_context(ThreadPoolExecutor(1))
        frozen, same, another = (
            asking(user, cluster, port),
            asking(user, cluster, cluster.ports[0]),
            asking(other, cluster, cluster.ports[0]),
        )
        file_ids = [one.create("first", one.seal(b"content")).json()["file_id"] for one in (same, another)]
        proxy.arm(pid)
        try:
            waiting = threads.submit(frozen.create, "frozen", user.seal(b"content"))
            assert proxy.stopped.wait(180)
            beside, box = Stopwatch(), Stopwatch()
            use(another, file_ids[1], beside, "another")
            use(same, file_ids[0], box, "same")
        finally:
            proxy.release()
            os.kill(pid, signal.SIGCONT)
        # What was rolled back meanwhile is done again.
        assert waiting.result().status_code == 201
    print(f"seconds in another box: {beside.longest}, in the same box: {box.longest}")
    assert all(seconds < MOST for seconds in beside.longest.values()), beside.longest
    # MongoDB looks for such transactions twice in their lifetime.
    assert box.longest.pop("creation") < 1.5 * transaction_lifetime + MOST
    assert all(seconds < MOST for seconds in box.longest.values()), box.longest
