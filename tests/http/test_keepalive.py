"""Connections that are used again, and those that must not be."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from connector.http import BufferStream, BulkTransport
from tests.support.scripted_server import answering, chunked, response

pytestmark = pytest.mark.trio

OK = response("200 OK", b"hello")


async def test_streamed_bodies_give_their_connection_back(serve, client, transport):
    server = await serve(answering(chunked(b"a" * 200_000, size=1000), times=3))
    for _ in range(3):
        reply = await client.get(server.url)
        assert len(reply.content) == 200_000
    assert server.connections == 1
    assert transport.pool.idle == 1


async def test_a_body_left_unread_takes_its_connection_along(serve, client, transport):
    server = await serve(answering(response("200 OK", b"a" * 200_000)))
    async with client.stream("GET", server.url):
        assert transport.pool.in_use == 1
    assert transport.pool.in_use == 0
    assert transport.pool.idle == 0


async def test_head_and_empty_answers(serve, client):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n", times=2))
    for _ in range(2):
        reply = await client.head(server.url)
        assert reply.headers["content-length"] == "700"
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        response("200 OK", b"hello", ("Connection", "close")),
        response("200 OK", b"hello", ("Connection", "x, Close")),
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
async def test_a_server_that_means_to_close(serve, client, transport, answer):
    server = await serve(answering(answer, then="close"))
    for _ in range(2):
        assert (await client.get(server.url)).text == "hello"
        assert transport.pool.idle == 0
    assert server.connections == 2


async def test_a_request_that_means_to_close(serve, client, transport):
    server = await serve(answering(OK))
    await client.get(server.url, headers={"Connection": "close"})
    assert transport.pool.idle == 0


async def test_leftover_bytes_end_the_connection(serve, client, transport):
    """What follows an answer could pass for the answer to the next request."""
    server = await serve(answering(OK + response("200 OK", b"forged")))
    assert (await client.get(server.url)).text == "hello"
    assert (await client.get(server.url)).text == "hello"
    assert server.connections == 2


async def test_bytes_that_come_while_idle_end_the_connection(serve, client):
    async def scene(peer):
        await peer.head()
        await peer.send(OK)
        await trio.sleep(0.02)
        await peer.send(response("408 Request Timeout", b"forged"))
        await peer.gone()

    server = await serve(scene)
    await client.get(server.url)
    await trio.sleep(0.1)
    assert (await client.get(server.url)).text == "hello"
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_not_tried(serve, client):
    server = await serve(answering(OK, then="close"))
    await client.get(server.url)
    await trio.sleep(0.05)
    assert (await client.post(server.url, content=b"x")).text == "hello"
    assert server.connections == 2


async def test_expiry(serve):
    server = await serve(answering(OK, times=5))
    async with httpx.AsyncClient(transport=BulkTransport(keepalive_expiry=0.5)) as client:
        await client.get(server.url)
        await client.get(server.url)
        assert server.connections == 1
        await trio.sleep(0.6)
        await client.get(server.url)
        assert server.connections == 2


def closing_on_second(*, after: bytes = b"", body: int = 0):
    """A server that takes a second request on the connection and closes without an answer."""

    async def scene(peer):
        await peer.head()
        await peer.body(body)
        await peer.send(OK)
        await peer.head()
        await peer.body(body // 2)
        await peer.send(after)
        if not after:
            peer.reset()

    return scene


class TestStaleOnReuse:
    async def test_one_fresh_connection_is_tried(self, serve, client):
        server = await serve(closing_on_second(), answering(OK))
        await client.get(server.url)
        sink = bytearray(5)
        reply = await client.get(server.url, extensions={"sink": sink})
        assert reply.extensions["received"] == 5
        assert server.connections == 2

    async def test_only_one(self, serve, client):
        async def refuse(peer):
            await peer.head()

        server = await serve(closing_on_second(), refuse)
        await client.get(server.url)
        with pytest.raises(httpx.RemoteProtocolError, match="without an answer"):
            await client.get(server.url)
        assert server.connections == 2

    async def test_bodies_are_sent_again_and_counted_once(self, serve, client):
        size = 8_000_000

        async def take(peer):
            await peer.head()
            assert len(await peer.body(size)) == size
            await peer.send(OK)

        server = await serve(closing_on_second(body=size), take)
        body = BufferStream(memoryview(bytes(size)))
        await client.put(server.url, content=body)
        seen: list[int] = []
        reply = await client.put(server.url, content=body, extensions={"on_bytes": seen.append})
        assert reply.status_code == 200
        assert sum(seen) == size
        assert server.connections == 2

    async def test_not_when_an_answer_had_begun(self, serve, client):
        server = await serve(closing_on_second(after=b"HTTP/1.1 2"), answering(OK))
        await client.get(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)
        assert server.connections == 1

    async def test_not_for_what_must_not_be_done_twice(self, serve, client):
        server = await serve(closing_on_second(), answering(OK))
        await client.get(server.url)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)):
            await client.post(server.url, content=b"")
        assert server.connections == 1

    async def test_not_for_a_body_that_is_gone(self, serve, client):
        async def pieces():
            yield b"abc"
            await trio.sleep(0.05)
            yield b"def"

        server = await serve(closing_on_second(), answering(OK))
        await client.get(server.url)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)):
            await client.put(server.url, content=pieces())
        assert server.connections == 1

    async def test_not_on_a_fresh_connection(self, serve, client):
        async def refuse(peer):
            await peer.head()

        server = await serve(refuse, answering(OK))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)
        assert server.connections == 1


class TestPool:
    async def test_never_more_connections_than_allowed(self, serve, nursery):
        most = 0

        async def scene(peer):
            nonlocal most
            while await peer.head():
                most = max(most, server.open)
                await trio.sleep(0.01)
                await peer.send(OK)

        server = await serve(scene)
        async with BulkTransport(max_connections=3) as transport, httpx.AsyncClient(transport=transport) as client:
            async with trio.open_nursery() as requests:
                for _ in range(20):
                    requests.start_soon(client.get, server.url)
            assert most == 3
            assert server.connections == 3
            assert (transport.pool.in_use, transport.pool.idle) == (0, 3)

    async def test_idle_connections_make_room_for_another_host(self, serve):
        servers = [await serve(answering(OK, times=9)) for _ in range(3)]
        async with BulkTransport(max_connections=2) as transport, httpx.AsyncClient(transport=transport) as client:
            for server in servers:
                await client.get(server.url)
            assert transport.pool.idle == 2
            await trio.sleep(0.05)
            assert [server.open for server in servers] == [0, 1, 1]

    async def test_slots_are_given_in_the_order_of_asking(self, serve, nursery):
        server = await serve(answering(OK, times=9))
        done: list[int] = []
        async with BulkTransport(max_connections=1) as transport, httpx.AsyncClient(transport=transport) as client:

            async def ask(number: int) -> None:
                await client.get(server.url)
                done.append(number)

            async with trio.open_nursery() as requests:
                for number in range(6):
                    requests.start_soon(ask, number)
                    await trio.testing.wait_all_tasks_blocked()
        assert done == sorted(done)

    async def test_closing_closes(self, serve):
        server = await serve(answering(OK, times=9))
        transport = BulkTransport()
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get(server.url)
            assert server.open == 1
        await trio.sleep(0.05)
        assert server.open == 0
        assert transport.pool.idle == 0


async def test_only_http(client):
    with pytest.raises(httpx.UnsupportedProtocol):
        await client.get("ftp://127.0.0.1/x")
