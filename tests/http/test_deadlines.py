"""Every phase of a request ends in time, with the error that httpx has for it, and can be cancelled."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import trio
import trio.testing

from connector.http import BufferStream, BulkTransport
from tests.support.scripted_server import ScriptedServer, answering, response

pytestmark = pytest.mark.trio

OK = response("200 OK", b"hello")
HUGE = memoryview(bytes(50_000_000))


class Stuck:
    """A phase in which the other side does nothing any more; ``reached`` tells when."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.left = trio.Event()

    async def hold(self, peer) -> None:
        self.reached.set()
        await peer.gone()
        self.left.set()

    async def at_handshake(self, peer) -> None:
        await self.hold(peer)

    async def at_sending(self, peer) -> None:
        await peer.head()
        self.reached.set()
        await trio.sleep(0.3)  # reading nothing
        await self.hold(peer)

    async def at_head(self, peer) -> None:
        await peer.head()
        await self.hold(peer)

    async def within_head(self, peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 O")
        await self.hold(peer)

    async def at_body(self, peer) -> None:
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


def request_for(phase: str, server: ScriptedServer, timeout: dict[str, float | None], **extensions: object):
    url = server.url.replace("http://", "https://") if phase == "handshake" else server.url
    extensions = {"timeout": timeout, **extensions}
    if phase == "sending":
        return httpx.Request("PUT", url, stream=BufferStream(HUGE), extensions=extensions)
    return httpx.Request("GET", url, extensions={"sink": bytearray(5), **extensions})


SHORT = {"connect": 5, "read": 0.1, "write": 0.1, "pool": 0.1}
SHORT_CONNECT = {**SHORT, "connect": 0.1}
NEVER = {"connect": None, "read": None, "write": None, "pool": None}


@pytest.mark.parametrize("phase", PHASES)
async def test_idle_deadlines(serve, transport, phase):
    scene, expected = PHASES[phase]
    stuck = Stuck()
    server = await serve(getattr(stuck, scene))
    timeout = SHORT_CONNECT if expected is httpx.ConnectTimeout else SHORT
    with trio.fail_after(3), pytest.raises(expected) as caught:
        await transport.handle_async_request(request_for(phase, server, timeout))
    assert "0.1 seconds" in str(caught.value)
    assert "secret" not in str(caught.value)
    with trio.fail_after(3):
        await stuck.left.wait()
    assert transport.pool.idle == 0


@pytest.mark.parametrize("phase", PHASES)
async def test_deadline_of_the_whole(serve, transport, phase):
    scene, expected = PHASES[phase]
    stuck = Stuck()
    server = await serve(getattr(stuck, scene))
    start = trio.current_time()
    with trio.fail_after(3), pytest.raises(expected, match=r"not over after 0\.3 seconds"):
        await transport.handle_async_request(request_for(phase, server, NEVER, deadline_seconds=0.3))
    assert trio.current_time() - start < 2
    with trio.fail_after(3):
        await stuck.left.wait()


@pytest.mark.parametrize("phase", PHASES)
async def test_cancellation(serve, transport, phase):
    stuck = Stuck()
    server = await serve(getattr(stuck, PHASES[phase][0]))
    with trio.fail_after(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.handle_async_request, request_for(phase, server, NEVER))
            await stuck.reached.wait()
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert transport.pool.in_use == 1
            nursery.cancel_scope.cancel()
        await stuck.left.wait()
    assert (transport.pool.in_use, transport.pool.idle) == (0, 0)


class TestWaitingForAConnection:
    @pytest.fixture
    async def taken(self, serve) -> AsyncIterator[tuple[BulkTransport, ScriptedServer]]:
        server = await serve(answering(OK))
        async with BulkTransport(max_connections=1) as transport:
            holder = await transport.handle_async_request(httpx.Request("GET", server.url))
            yield transport, server
            assert transport.pool.in_use == 1
            await holder.aclose()
            assert transport.pool.in_use == 0

    async def test_times_out(self, taken):
        transport, server = taken
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(request_for("head", server, SHORT))

    async def test_counts_in_the_whole(self, taken):
        transport, server = taken
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(request_for("head", server, NEVER, deadline_seconds=0.1))

    async def test_can_be_cancelled(self, taken):
        transport, server = taken
        with trio.move_on_after(0.05) as scope:
            await transport.handle_async_request(request_for("head", server, NEVER))
        assert scope.cancelled_caught


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
    async def test_times_out(self, transport, deaf_port):
        with trio.fail_after(3), pytest.raises(httpx.ConnectTimeout):
            await transport.handle_async_request(
                httpx.Request("GET", f"http://127.0.0.1:{deaf_port}/", extensions={"timeout": SHORT_CONNECT})
            )

    async def test_can_be_cancelled(self, transport, deaf_port):
        with trio.move_on_after(0.1) as scope:
            await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{deaf_port}/"))
        assert scope.cancelled_caught
        assert transport.pool.in_use == 0


async def test_refused_connections(transport):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(httpx.ConnectError, match=rf"^Cannot connect to 127\.0\.0\.1:{port}: [\w ]*refused\.$"):
        await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/?secret"))


async def test_names_that_do_not_resolve(transport):
    with pytest.raises(httpx.ConnectError, match=r"no-such-host\.invalid cannot be resolved"):
        await transport.handle_async_request(httpx.Request("GET", "http://no-such-host.invalid/"))


async def test_slow_is_not_idle(serve, transport):
    """Bytes that keep coming hold off the idle deadline, not the deadline of the whole."""

    async def scene(peer):
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await trio.sleep(0.05)
            await peer.send(b"x")

    server = await serve(scene)
    timeout = {**NEVER, "read": 0.4}
    request = httpx.Request("GET", server.url, extensions={"sink": bytearray(10), "timeout": timeout})
    reply = await transport.handle_async_request(request)
    assert reply.extensions["received"] == 10
    request.extensions["deadline_seconds"] = 0.3
    with pytest.raises(httpx.ReadTimeout):
        await transport.handle_async_request(request)


async def test_the_whole_goes_on_in_a_streamed_body(serve, transport):
    stuck = Stuck()
    server = await serve(stuck.at_body)
    request = httpx.Request("GET", server.url, extensions={"deadline_seconds": 0.2})
    reply = await transport.handle_async_request(request)
    with trio.fail_after(3), pytest.raises(httpx.ReadTimeout):
        await reply.aread()
    assert transport.pool.in_use == 0


async def test_a_stuck_error_body_does_not_hide_the_status(serve, transport):
    async def scene(peer):
        await peer.head()
        await peer.send(response("503 Slow Down", b"<Err", length=100))
        await peer.gone()

    server = await serve(scene)
    reply = await transport.handle_async_request(request_for("head", server, SHORT))
    assert reply.status_code == 503
    assert await reply.aread() == b"<Err"


async def test_other_tasks_run_during_a_flood(serve, transport, nursery):
    """A socket that always has bytes ready must not keep the loop to itself."""
    size = 64_000_000
    server = await serve(answering(response("200 OK", bytes(size))))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    nursery.start_soon(tick)
    sink = memoryview(bytearray(size))
    await transport.handle_async_request(httpx.Request("GET", server.url, extensions={"sink": sink}))
    assert ticks > 60
    nursery.cancel_scope.cancel()
