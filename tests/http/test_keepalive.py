"""Connections that are used again, and those that must not be."""

from __future__ import annotations

from contextlib import aclosing

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from connector.http import HttpClient, HttpOptions
from tests.http.conftest import Serve
from tests.support.http_calls import get, get_into, put
from tests.support.scripted_server import Peer, Scene, answering, response
from tests.support.waiting import until

pytestmark = pytest.mark.trio

OK = response("200 OK", b"hello")


@pytest.mark.parametrize(
    "answer",
    [
        response("200 OK", b"hello", ("Connection", "close")),
        response("200 OK", b"hello", ("Connection", "x, Close")),
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
async def test_a_server_that_closes(serve: Serve, client: HttpClient, answer: bytes) -> None:
    server = await serve(answering(answer, then="close"))
    for _ in range(2):
        assert (await get(client, server.url)).body == b"hello"
        assert client.pool.idle == 0
    assert server.connections == 2


async def test_leftover_bytes_end_the_connection(serve: Serve, client: HttpClient) -> None:
    """What follows an answer could pass for the answer to the next request."""
    server = await serve(answering(OK + response("200 OK", b"forged")))
    assert (await get(client, server.url)).body == b"hello"
    assert (await get(client, server.url)).body == b"hello"
    assert server.connections == 2


async def test_bytes_that_come_while_idle_end_the_connection(serve: Serve, client: HttpClient) -> None:
    idle, sent = trio.Event(), trio.Event()

    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await idle.wait()
        await peer.send(response("408 Request Timeout", b"forged"))
        sent.set()
        await peer.gone()

    server = await serve(scene)
    await get(client, server.url)
    idle.set()
    await sent.wait()
    await trio.sleep(0.05)  # for the system to deliver it
    assert (await get(client, server.url)).body == b"hello"
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_not_tried(serve: Serve, client: HttpClient) -> None:
    server = await serve(answering(OK, then="close"))
    await get(client, server.url)
    await until(lambda: not server.open)
    await trio.sleep(0.05)  # for it to be closed, and the system to say so
    assert (await client.api.post(server.url, content=b"x")).text == "hello"
    assert server.connections == 2


async def test_expiry(serve: Serve, mock_clock: MockClock) -> None:
    server = await serve(answering(OK, times=5))
    async with aclosing(HttpClient(HttpOptions(keepalive_expiry=0.5))) as client:
        await get(client, server.url)
        mock_clock.jump(0.4)
        await get(client, server.url)
        assert server.connections == 1
        mock_clock.jump(0.6)
        await get(client, server.url)
        assert server.connections == 2


def closing_on_second(*, after: bytes = b"", body: int = 0) -> Scene:
    """A server that takes a second request on the connection and closes without a response."""

    async def scene(peer: Peer) -> None:
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
    async def test_one_fresh_connection_is_tried(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(closing_on_second(), answering(OK))
        await get(client, server.url)
        assert await get_into(client, server.url, bytearray(5)) == 5
        assert server.connections == 2

    async def test_only_one(self, serve: Serve, client: HttpClient) -> None:
        async def refuse(peer: Peer) -> None:
            await peer.head()

        server = await serve(closing_on_second(), refuse)
        await get(client, server.url)
        with pytest.raises(httpx.RemoteProtocolError, match="without a response"):
            await get(client, server.url)
        assert server.connections == 2

    async def test_bodies_are_sent_again_and_counted_once(self, serve: Serve, client: HttpClient) -> None:
        size = 8_000_000

        async def take(peer: Peer) -> None:
            await peer.head()
            assert len(await peer.body(size)) == size
            await peer.send(OK)

        server = await serve(closing_on_second(body=size), take)
        await put(client, server.url, bytes(size))
        seen: list[int] = []
        assert (await put(client, server.url, bytes(size), seen.append)).status == 200
        assert sum(seen) == size
        assert min(seen) < 0, "what the first connection took is taken back"
        assert server.connections == 2

    async def test_not_when_an_answer_had_begun(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(closing_on_second(after=b"HTTP/1.1 2"), answering(OK))
        await get(client, server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await get(client, server.url)
        assert server.connections == 1

    async def test_not_for_what_must_not_be_done_twice(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(closing_on_second(), answering(OK))
        await get(client, server.url)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)):
            await client.api.post(server.url, content=b"")
        assert server.connections == 1

    async def test_not_on_a_fresh_connection(self, serve: Serve, client: HttpClient) -> None:
        async def refuse(peer: Peer) -> None:
            await peer.head()

        server = await serve(refuse, answering(OK))
        with pytest.raises(httpx.RemoteProtocolError):
            await get(client, server.url)
        assert server.connections == 1


class TestPool:
    async def test_never_more_connections_than_allowed(self, serve: Serve, nursery: trio.Nursery) -> None:
        most = 0

        async def scene(peer: Peer) -> None:
            nonlocal most
            while await peer.head():
                most = max(most, server.open)
                await trio.sleep(0.01)
                await peer.send(OK)

        server = await serve(scene)
        async with aclosing(HttpClient(HttpOptions(max_connections=3))) as client:
            async with trio.open_nursery() as requests:
                for _ in range(20):
                    requests.start_soon(get, client, server.url)
            assert most == 3
            assert server.connections == 3
            assert (client.pool.in_use, client.pool.idle) == (0, 3)

    async def test_idle_connections_make_room_for_another_host(self, serve: Serve) -> None:
        servers = [await serve(answering(OK, times=9)) for _ in range(3)]
        async with aclosing(HttpClient(HttpOptions(max_connections=2))) as client:
            for server in servers:
                await get(client, server.url)
            assert client.pool.idle == 2
            await until(lambda: not servers[0].open)
            assert [server.open for server in servers] == [0, 1, 1]

    async def test_slots_are_given_in_the_order_of_asking(self, serve: Serve, nursery: trio.Nursery) -> None:
        server = await serve(answering(OK, times=9))
        done: list[int] = []
        async with aclosing(HttpClient(HttpOptions(max_connections=1))) as client:

            async def ask(number: int) -> None:
                await get(client, server.url)
                done.append(number)

            async with trio.open_nursery() as requests:
                for number in range(6):
                    requests.start_soon(ask, number)
                    await trio.testing.wait_all_tasks_blocked()
        assert done == sorted(done)

    async def test_closing_closes(self, serve: Serve) -> None:
        server = await serve(answering(OK, times=9))
        async with aclosing(HttpClient(HttpOptions())) as client:
            await get(client, server.url)
            assert server.open == 1
        await until(lambda: not server.open)
        assert client.pool.idle == 0


class TestConnectingAhead:
    async def test_the_request_finds_a_connection(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(OK, times=5))
        await client.connect_ahead(server.url, 2)
        await client.connect_ahead(server.url, 2)
        assert (server.connections, client.pool.idle, client.pool.in_use) == (2, 2, 0)
        assert (await get(client, server.url)).body == b"hello"
        assert server.connections == 2

    async def test_not_more_than_the_pool_has_room_for(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(OK))
        await client.connect_ahead(server.url, 100)
        assert client.pool.idle == 4

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "ftp://127.0.0.1/x", "http://", "https://127.0.0.1:1/"])
    async def test_failures_are_left_to_the_request(self, client: HttpClient, url: str) -> None:
        await client.connect_ahead(url, 2)
        assert (client.pool.idle, client.pool.in_use) == (0, 0)


async def test_the_round_trip_is_that_of_the_fastest_response(
    serve: Serve, mock_clock: MockClock, client: HttpClient
) -> None:
    delays = iter([0.2, 0.1, 0.3])

    async def scene(peer: Peer) -> None:
        while await peer.head():
            mock_clock.jump(next(delays))
            await peer.send(OK)

    server = await serve(scene)
    assert client.round_trip == 0.0
    seen = []
    for _ in range(3):
        await get(client, server.url)
        seen.append(client.round_trip)
    assert seen[:2] == pytest.approx([0.2, 0.1])
    assert seen[1] <= seen[2] <= seen[1] * 1.03
