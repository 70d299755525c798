"""Bodies that are sent, and responses that do not wait for them."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from typing import Any

import httpx
import pytest
import trio

from connector.http import HttpClient
from connector.http.pool import bound_unsent
from connector.http.socket_stream import unacknowledged
from tests.http.conftest import Serve
from tests.support.http_calls import put
from tests.support.scripted_server import Peer, response
from tests.support.waiting import until

pytestmark = pytest.mark.trio

BODY = random.Random(3).randbytes(3_000_000)
HUGE = memoryview(bytes(50_000_000))
CREATED = response("200 OK", b"", ("ETag", '"abc"'))


class Sink:
    """A scene that reads one request with a Content-Length and answers it."""

    def __init__(self, answer: bytes = CREATED) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = answer

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            self.heads.append(head)
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            self.bodies.append(await peer.body(int(fields.get(b"content-length", b"0"))))
            await peer.send(self.answer)


@pytest.mark.parametrize("size", [0, 5, 16_384, 16_385, len(BODY)])
async def test_a_buffer_is_sent_as_it_is(serve: Serve, client: HttpClient, size: int) -> None:
    sink = Sink()
    server = await serve(sink)
    for _ in range(2):
        seen: list[int] = []
        reply = await put(client, server.url, BODY[:size], seen.append)
        assert (reply.status, reply.headers["etag"]) == (200, '"abc"')
        assert sum(seen) == size
        assert all(count > 0 for count in seen)
    assert sink.bodies == [BODY[:size]] * 2
    head = sink.heads[0].lower()
    assert head.count(b"content-length: %d\r\n" % size) == 1
    assert b"transfer-encoding" not in head
    assert (server.connections, client.pool.idle) == (1, 1)


async def test_a_buffer_of_other_items_counts_in_bytes(serve: Serve, client: HttpClient) -> None:
    sink = Sink()
    server = await serve(sink)
    await put(client, server.url, memoryview(BODY[:8000]).cast("Q"))
    assert sink.bodies == [BODY[:8000]]


async def test_errors_of_the_callback_come_through_bare(serve: Serve, client: HttpClient) -> None:
    def on_bytes(count: int) -> None:
        raise KeyError("mine")

    server = await serve(Sink())
    with pytest.raises(KeyError):
        await put(client, server.url, HUGE, on_bytes)
    assert client.pool.idle == 0


class TestEarlyResponses:
    async def test_refusal_then_reset(self, serve: Serve, client: HttpClient) -> None:
        """A storage whose URL has expired: it answers, closes, and the unread body makes it a reset."""

        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.send(response("403 Forbidden", b"<Code>Expired</Code>", ("Connection", "close")))
            await trio.sleep(0.05)
            peer.reset()

        server = await serve(scene)
        for _ in range(3):
            reply = await put(client, server.url, HUGE)
            assert (reply.status, reply.body) == (403, b"<Code>Expired</Code>")
        assert client.pool.idle == 0

    async def test_refusal_while_the_body_is_not_read(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.body(100_000)
            await peer.send(response("507 Insufficient Storage", b"full"))
            await trio.sleep_forever()

        server = await serve(scene)
        with trio.fail_after(30):
            reply = await put(client, server.url, HUGE)
        assert (reply.status, reply.body) == (507, b"full")
        assert client.pool.idle == 0, "the rest of the body was never sent: the connection cannot be used again"

    async def test_success_without_the_body_is_not_believed(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.send(CREATED)
            await trio.sleep_forever()

        server = await serve(scene)
        with pytest.raises(httpx.RemoteProtocolError, match="whole body"):
            await put(client, server.url, HUGE)

    async def test_close_without_a_response(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.body(1000)
            peer.reset()

        server = await serve(scene)
        with pytest.raises((httpx.WriteError, httpx.ReadError)):
            await put(client, server.url, HUGE)

    async def test_interim_responses_do_not_stop_the_body(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert len(await peer.body(len(BODY))) == len(BODY)
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + CREATED)

        server = await serve(scene)
        assert (await put(client, server.url, BODY)).status == 200


class NotedOptions:
    """A socket of which only the options matter."""

    def __init__(self) -> None:
        self.options: set[int] = set()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.add(option)


@pytest.mark.parametrize(("platform", "known"), [("linux", True), ("darwin", False), ("win32", False)])
async def test_where_it_is_not_known_what_has_arrived_send_buffers_are_small(platform: str, known: bool) -> None:
    noted: Any = NotedOptions()
    bound_unsent(noted, platform)
    assert (socket.SO_SNDBUF not in noted.options) is known
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sock.send(HUGE):
                pass
        if sys.platform == "linux":
            assert (unacknowledged(sock, platform) > 0) is known


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what has arrived")
async def test_only_what_has_arrived_counts(serve: Serve, client: HttpClient) -> None:
    """A server that reads a part of a body has its own buffers full, and ours is full, too."""
    body, read = HUGE[:12_000_000], 1_000_000  # more than there is room for on both sides
    seen: list[int] = []
    go_on = trio.Event()

    async def scene(peer: Peer) -> None:
        peer.limit_unread(1 << 18)
        await peer.head()
        left = len(body) - len(await peer.body(read))
        await go_on.wait()
        await peer.body(left)
        await peer.send(CREATED)

    server = await serve(scene)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, client, server.url, body, seen.append)
        await until(lambda: seen)
        await trio.sleep(0.3)
        # The server's system has acknowledged what it has room for.
        assert 0 < sum(seen) < read + (1 << 20)
        go_on.set()
    assert sum(seen) == len(body)
