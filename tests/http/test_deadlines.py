"""Every phase of a request ends in time, with its own kind of error, and can be cancelled."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from connector.http import HttpClient, HttpOptions
from tests.http.conftest import Serve
from tests.support.http_calls import get, get_into, put
from tests.support.scripted_server import Peer, ScriptedServer, answering, response

pytestmark = pytest.mark.trio

OK = response("200 OK", b"hello")
HUGE = memoryview(bytes(50_000_000))


class Stuck:
    """A phase in which the other side does nothing any more; ``reached`` tells when."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.left = trio.Event()

    async def hold(self, peer: Peer) -> None:
        self.reached.set()
        await peer.gone()
        self.left.set()

    async def at_handshake(self, peer: Peer) -> None:
        await self.hold(peer)

    async def at_sending(self, peer: Peer) -> None:
        await peer.head()
        self.reached.set()
        await trio.sleep(0.3)  # reading nothing
        await self.hold(peer)

    async def at_head(self, peer: Peer) -> None:
        await peer.head()
        await self.hold(peer)

    async def within_head(self, peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 O")
        await self.hold(peer)

    async def at_body(self, peer: Peer) -> None:
        await peer.head()
        await peer.send(OK[:-2])
        await self.hold(peer)


PHASES: dict[str, tuple[str, type[httpx.TimeoutException]]] = {
    "handshake": ("at_handshake", httpx.ConnectTimeout),
    "sending": ("at_sending", httpx.WriteTimeout),
    "head": ("at_head", httpx.ReadTimeout),
    "half a head": ("within_head", httpx.ReadTimeout),
    "body": ("at_body", httpx.ReadTimeout),
}


async def run(phase: str, server: ScriptedServer, **seconds: float) -> None:
    given: dict[str, Any] = {"connect_timeout": math.inf, "read_timeout": math.inf, **seconds}
    options = HttpOptions(**given)
    async with aclosing(HttpClient(options)) as client:
        try:
            if phase == "sending":
                await put(client, server.url, HUGE)
            elif phase == "handshake":
                await get(client, server.url.replace("http:", "https:"))
            else:
                await get_into(client, server.url, bytearray(5))
        finally:
            assert (client.pool.in_use, client.pool.idle) == (0, 0)


@pytest.mark.parametrize("phase", PHASES)
async def test_timeouts(serve: Serve, phase: str) -> None:
    scene, expected = PHASES[phase]
    stuck = Stuck()
    server = await serve(getattr(stuck, scene))
    which = "connect_timeout" if expected is httpx.ConnectTimeout else "read_timeout"
    with trio.fail_after(30), pytest.raises(expected, match=r"0\.1 seconds") as caught:
        await run(phase, server, **{which: 0.1})
    assert "secret" not in str(caught.value)
    with trio.fail_after(30):
        await stuck.left.wait()


@pytest.mark.parametrize("phase", PHASES)
async def test_cancellation(serve: Serve, phase: str) -> None:
    stuck = Stuck()
    server = await serve(getattr(stuck, PHASES[phase][0]))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, phase, server)
            await stuck.reached.wait()
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
        await stuck.left.wait()


async def test_waiting_for_a_slot_can_be_cancelled(serve: Serve) -> None:
    server = await serve(answering(OK))
    async with aclosing(HttpClient(HttpOptions(max_connections=1))) as client:
        holder = await client.request("GET", server.url)
        with trio.move_on_after(0.05) as scope:
            await get(client, server.url)
        assert scope.cancelled_caught
        assert client.pool.in_use == 1
        holder.close()
        assert client.pool.in_use == 0


@pytest.fixture
async def deaf_port() -> AsyncIterator[int]:
    """A port where TCP does not answer: its queue of connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        await trio.sleep(0.05)
        yield port
        for filler in fillers:
            filler.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse instead of keeping silent")
class TestConnecting:
    async def test_times_out(self, deaf_port: int) -> None:
        async with aclosing(HttpClient(HttpOptions(connect_timeout=0.1))) as client:
            with trio.fail_after(30), pytest.raises(httpx.ConnectTimeout):
                await get(client, f"http://127.0.0.1:{deaf_port}/")

    async def test_can_be_cancelled(self, client: HttpClient, deaf_port: int) -> None:
        with trio.move_on_after(0.1) as scope:
            await get(client, f"http://127.0.0.1:{deaf_port}/")
        assert scope.cancelled_caught
        assert client.pool.in_use == 0


async def test_refused_connections(client: HttpClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(httpx.ConnectError, match=rf"127\.0\.0\.1:{port}: [\w ]*refused\.$"):
        await get(client, f"http://127.0.0.1:{port}/?secret")


async def test_names_that_do_not_resolve(client: HttpClient) -> None:
    with pytest.raises(httpx.ConnectError, match="resolved"):
        await get(client, "http://no-such-host.invalid/")


async def test_slow_is_not_idle(serve: Serve, mock_clock: trio.testing.MockClock) -> None:
    """Every byte starts the idle timeout again."""

    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked(0.02)  # the client has read that
            mock_clock.jump(0.8)
            await peer.send(b"xx")

    server = await serve(scene)
    async with aclosing(HttpClient(HttpOptions(read_timeout=1.0))) as client:
        assert await get_into(client, server.url, bytearray(10)) == 10


async def test_a_stuck_error_body_does_not_hide_the_status(serve: Serve) -> None:
    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(response("503 Slow Down", b"<Err", length=100))
        await peer.gone()

    server = await serve(scene)
    async with aclosing(HttpClient(HttpOptions(read_timeout=0.1))) as client:
        reply = await client.api.get(server.url)
    assert (reply.status_code, reply.content) == (503, b"<Err")
