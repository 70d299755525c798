"""The fault proxy does what it says, and nothing when told nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
import trio

from connector.http import HttpClient, HttpOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Faults
from tests.support.http_calls import Reply, get, put
from tests.support.scripted_server import Peer, ScriptedServer, chunked, response

pytestmark = pytest.mark.trio

BODY = random.Random(5).randbytes(300_000)


class Storage:
    """Gives BODY for GET, takes what is PUT."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.answer = response("200 OK", BODY)

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            if head.startswith(b"PUT"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
                self.taken.append(await peer.body(length))
                await peer.send(response("200 OK"))
            else:
                await peer.send(self.answer)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
async def proxy(storage: Storage, nursery: trio.Nursery) -> FaultProxy:
    server = await nursery.start(ScriptedServer(storage).run)
    started: FaultProxy = await nursery.start(FaultProxy(("127.0.0.1", server.port)).run)
    return started


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with aclosing(HttpClient(HttpOptions(keepalive_expiry=5, connect_timeout=60, read_timeout=60))) as client:
        yield client


async def outcome(client: HttpClient, proxy: FaultProxy, path: str = "/x") -> str:
    try:
        reply: Reply = await get(client, proxy.url + path)
    except httpx.TransportError as error:
        return type(error).__name__
    if reply.status != 200:
        return str(reply.status)
    return "right" if reply.body == BODY else "wrong"


async def test_without_faults_everything_passes(client: HttpClient, proxy: FaultProxy, storage: Storage) -> None:
    assert [await outcome(client, proxy) for _ in range(3)] == ["right"] * 3
    storage.answer = chunked(BODY, size=7000, trailers=b"A: b\r\n")
    assert await outcome(client, proxy) == "right"
    assert (await put(client, proxy.url + "/x", BODY)).status == 200
    assert storage.taken == [BODY]
    assert (proxy.counts.downloaded, proxy.counts.uploaded) == (4 * len(BODY), len(BODY))
    assert (proxy.counts.connections, proxy.counts.requests) == (1, 5)


async def test_fates_follow_the_seed_and_the_number() -> None:
    faults = Faults(refuse=0.3, stall=0.3, flip=0.3, truncate=0.3, cut_after=(10, 1000), seed=7)
    assert [faults.request(n) for n in range(50)] == [faults.request(n) for n in range(50)]
    other = Faults(refuse=0.3, stall=0.3, flip=0.3, truncate=0.3, cut_after=(10, 1000), seed=8)
    assert [faults.request(n) for n in range(50)] != [other.request(n) for n in range(50)]
    lives = [faults.connection(n)[0] for n in range(200)]
    assert min(lives) >= 10
    assert max(lives) <= 1000
    assert len(set(lives)) > 100
    refused = sum(Faults(refuse=0.1, seed=3).request(n).refused for n in range(10_000))
    assert 900 < refused < 1100


async def test_refusals(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(refuse=0.5, seed=1)
    seen = [await outcome(client, proxy) for _ in range(40)]
    assert set(seen) == {"right", "503"}
    assert seen.count("503") == proxy.counts.refused
    assert 10 < proxy.counts.refused < 30


async def test_refusals_of_uploads_are_heard(client: HttpClient, proxy: FaultProxy, storage: Storage) -> None:
    proxy.faults = Faults(refuse=1.0, retry_after=3)
    for _ in range(3):
        reply = await put(client, proxy.url + "/x", bytes(20_000_000))
        assert reply.status == 503
        assert reply.headers["retry-after"] == "3"
    assert storage.taken == []


async def test_retry_after_as_a_date(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(refuse=1.0, retry_after=60, retry_after_as_date=True)
    reply = await get(client, proxy.url)
    wait = parsedate_to_datetime(reply.headers["retry-after"]) - datetime.now(UTC)
    assert timedelta(seconds=55) < wait <= timedelta(seconds=60)


async def test_cuts(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(cut_after=(1000, 800_000), seed=2)
    seen = [await outcome(client, proxy) for _ in range(40)]
    assert proxy.counts.cut > 10
    assert {"right", "RemoteProtocolError", "ReadError"} >= set(seen) > {"right"}


async def test_flips_turn_one_bit(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(flip=1.0)
    reply = await get(client, proxy.url)
    differing = [a ^ b for a, b in zip(reply.body, BODY, strict=True) if a != b]
    assert len(differing) == 1
    assert differing[0].bit_count() == 1


async def test_flips_of_uploads(client: HttpClient, proxy: FaultProxy, storage: Storage) -> None:
    proxy.faults = Faults(flip_uploads=1.0)
    await put(client, proxy.url, BODY)
    assert sum(a != b for a, b in zip(storage.taken[0], BODY, strict=True)) == 1


async def test_truncations(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(truncate=1.0)
    assert await outcome(client, proxy) == "RemoteProtocolError"
    assert proxy.counts.truncated == 1
    assert proxy.counts.downloaded < len(BODY)


async def test_stalls(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(stall=1.0, stall_seconds=0.3)
    start = trio.current_time()
    assert await outcome(client, proxy) == "right"
    assert trio.current_time() - start >= 0.3
    assert proxy.counts.stalled == 1


async def test_delays(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(delay=0.2)
    start = trio.current_time()
    assert await outcome(client, proxy) == "right"
    assert trio.current_time() - start >= 0.2


async def test_speed_limits_hold_for_each_connection(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(bytes_per_second=300_000)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(outcome, client, proxy)
    assert 0.6 < trio.current_time() - start < 15, "300 kB take a second, and 20 s if all of them shared the limit"


async def test_crowds(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(max_concurrent=3, delay=0.05)
    seen: list[str] = []

    async def ask() -> None:
        seen.append(await outcome(client, proxy))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert proxy.counts.crowded == seen.count("503") > 0
    assert seen.count("right") >= 3


async def test_only_some_requests(client: HttpClient, proxy: FaultProxy) -> None:
    proxy.faults = Faults(refuse=1.0, only="^GET /parts/")
    assert await outcome(client, proxy, "/parts/1") == "503"
    assert await outcome(client, proxy, "/other") == "right"


async def test_early_answers_of_the_server_come_through(client: HttpClient, nursery: trio.Nursery) -> None:
    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(response("403 Forbidden", b"expired"))
        await trio.sleep(0.05)
        peer.reset()

    server = await nursery.start(ScriptedServer(scene).run)
    proxy = await nursery.start(FaultProxy(("127.0.0.1", server.port)).run)
    reply = await put(client, proxy.url, bytes(20_000_000))
    assert (reply.status, reply.body) == (403, b"expired")


async def test_a_client_that_dies_in_the_middle_of_a_body_is_not_waited_for_by_the_server(
    nursery: trio.Nursery,
) -> None:
    gone = trio.Event()

    async def wait_for_the_rest(peer: Peer) -> None:
        await peer.head()
        assert len(await peer.body(1000)) == 10
        gone.set()

    server = await nursery.start(ScriptedServer(wait_for_the_rest).run)
    proxy = await nursery.start(FaultProxy(("127.0.0.1", server.port)).run)
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as dying:
        await dying.send_all(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(10))
    with trio.fail_after(30):
        await gone.wait()


async def test_all_connections_can_be_cut_at_once(client: HttpClient, proxy: FaultProxy, storage: Storage) -> None:
    proxy.faults = Faults(stall=1.0, stall_seconds=60)

    async def cut() -> None:
        while not proxy.counts.stalled:
            await trio.sleep(0.01)
        proxy.cut_all()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            assert await outcome(client, proxy) in ("ReadError", "RemoteProtocolError")


async def test_as_a_process(client: HttpClient, storage: Storage, nursery: trio.Nursery) -> None:
    server = await nursery.start(ScriptedServer(storage).run)
    options = f"--upstream 127.0.0.1:{server.port} --refuse 0.5 --seed 1 --cut-after 100000000-200000000"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.support.fault_proxy", *options.split()],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(180):
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some(1000)
            url = line.decode().removeprefix("listening on ").strip()
            statuses = [(await get(client, url)).status for _ in range(20)]
            assert set(statuses) == {200, 503}
            counts = (await client.api.get(url + "/.faults")).json()
            assert counts["refused"] == statuses.count(503)
            process.send_signal(signal.SIGTERM)
            rest = b"".join([data async for data in process.stdout])
            assert json.loads(rest)["requests"] == 20
            assert await process.wait() == 0
    finally:
        process.kill()
