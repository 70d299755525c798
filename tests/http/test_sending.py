"""Bodies that go out, and answers that do not wait for them."""

from __future__ import annotations

import random

import httpx
import pytest
import trio

from connector.http import BufferStream
from tests.support.scripted_server import response

pytestmark = pytest.mark.trio

BODY = random.Random(3).randbytes(3_000_000)
CREATED = response("200 OK", b"", ("ETag", '"abc"'))


class Sink:
    """A scene that reads one request with a Content-Length and answers it."""

    def __init__(self, answer: bytes = CREATED) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = answer

    async def __call__(self, peer) -> None:
        while head := await peer.head():
            self.heads.append(head)
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            self.bodies.append(await peer.body(int(fields.get(b"content-length", b"0"))))
            await peer.send(self.answer)


async def test_a_buffer_goes_out_as_it_is(serve, client, transport):
    sink = Sink()
    server = await serve(sink)
    for _ in range(2):
        seen: list[int] = []
        reply = await client.put(
            server.url, content=BufferStream(memoryview(BODY)), extensions={"on_bytes": seen.append}
        )
        assert reply.status_code == 200
        assert reply.headers["etag"] == '"abc"'
        assert sum(seen) == len(BODY)
        assert min(seen) > 0
    assert sink.bodies == [BODY, BODY]
    assert server.connections == 1
    assert transport.pool.idle == 1


async def test_a_buffer_brings_its_length_and_is_not_chunked(serve, client):
    sink = Sink()
    server = await serve(sink)
    await client.put(server.url, content=BufferStream(memoryview(b"12345")))
    head = sink.heads[0].lower()
    assert head.count(b"content-length: 5\r\n") == 1
    assert b"transfer-encoding" not in head


async def test_an_empty_buffer(serve, client):
    sink = Sink()
    server = await serve(sink)
    reply = await client.put(server.url, content=BufferStream(memoryview(b"")))
    assert reply.status_code == 200
    assert b"content-length: 0\r\n" in sink.heads[0].lower()


async def test_a_buffer_of_other_items_counts_in_bytes(serve, client):
    sink = Sink()
    server = await serve(sink)
    await client.put(server.url, content=BufferStream(memoryview(BODY[:8000]).cast("Q")))
    assert sink.bodies == [BODY[:8000]]


async def test_ordinary_bodies(serve, client):
    sink = Sink(response("201 Created", b'{"a": 1}', ("Content-Type", "application/json")))
    server = await serve(sink)
    reply = await client.post(server.url, json={"b": 2})
    assert reply.json() == {"a": 1}
    assert sink.bodies == [b'{"b":2}']


async def test_chunked_bodies_of_unknown_length(serve, client):
    async def pieces():
        yield b"abc"
        yield b""
        yield b"defg"

    received: list[bytes] = []

    async def scene(peer):
        head = await peer.head()
        assert b"transfer-encoding: chunked\r\n" in head.lower()
        received.append(await peer.body(len(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")))
        await peer.send(CREATED)

    server = await serve(scene)
    reply = await client.put(server.url, content=pieces())
    assert reply.status_code == 200
    assert received == [b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"]


@pytest.mark.parametrize("announced", ["3", "9"])
async def test_an_announced_length_that_is_wrong(serve, client, transport, announced):
    async def pieces():
        yield b"abcdef"

    server = await serve(Sink())
    with pytest.raises(httpx.LocalProtocolError, match=f"announced {announced} bytes"):
        await client.put(server.url, content=pieces(), headers={"Content-Length": announced})
    assert transport.pool.idle == 0


async def test_errors_of_the_iterated_body_come_through_bare(serve, client):
    async def pieces():
        yield b"abc"
        raise KeyError("mine")

    server = await serve(Sink())
    with pytest.raises(KeyError):
        await client.put(server.url, content=pieces())


async def test_malformed_headers_are_a_local_error(serve, client):
    server = await serve(Sink())
    with pytest.raises(httpx.LocalProtocolError):
        await client.get(server.url, headers={"X-Bad": "a\r\nb"})


async def test_other_transports_iterate_over_a_buffer(serve):
    sink = Sink()
    server = await serve(sink)
    async with httpx.AsyncClient() as plain:
        stream = BufferStream(memoryview(BODY))
        reply = await plain.put(server.url, content=stream, headers={"Content-Length": str(len(stream))})
    assert reply.status_code == 200
    assert sink.bodies == [BODY]


class TestEarlyAnswers:
    async def test_refusal_then_reset(self, serve, client, transport):
        """The way of a storage whose URL has expired: it answers, closes, and the unread body makes it a reset."""

        async def scene(peer):
            await peer.head()
            await peer.send(response("403 Forbidden", b"<Code>Expired</Code>", ("Connection", "close")))
            await trio.sleep(0.05)
            peer.reset()

        server = await serve(scene)
        for _ in range(3):
            reply = await client.put(server.url, content=BufferStream(memoryview(bytes(50_000_000))))
            assert (reply.status_code, reply.text) == (403, "<Code>Expired</Code>")
        assert transport.pool.idle == 0

    async def test_refusal_while_the_body_is_not_read(self, serve, client, transport):
        async def scene(peer):
            await peer.head()
            await peer.body(100_000)
            await peer.send(response("507 Insufficient Storage", b"full"))
            await trio.sleep_forever()

        server = await serve(scene)
        with trio.fail_after(3):
            reply = await client.put(server.url, content=BufferStream(memoryview(bytes(50_000_000))))
        assert (reply.status_code, reply.text) == (507, "full")
        assert transport.pool.idle == 0, "the rest of the body was never sent: the connection is of no more use"

    async def test_success_without_the_body_is_not_believed(self, serve, client):
        async def scene(peer):
            await peer.head()
            await peer.send(CREATED)
            await trio.sleep_forever()

        server = await serve(scene)
        with pytest.raises(httpx.RemoteProtocolError, match="before it had the whole body"):
            await client.put(server.url, content=BufferStream(memoryview(bytes(50_000_000))))

    async def test_close_without_a_word(self, serve, client):
        async def scene(peer):
            await peer.head()
            await peer.body(1000)
            peer.reset()

        server = await serve(scene)
        with pytest.raises((httpx.WriteError, httpx.ReadError)):
            await client.put(server.url, content=BufferStream(memoryview(bytes(50_000_000))))

    async def test_interim_answers_do_not_stop_the_body(self, serve, client):
        async def scene(peer):
            await peer.head()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert len(await peer.body(len(BODY))) == len(BODY)
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + CREATED)

        server = await serve(scene)
        reply = await client.put(server.url, content=BufferStream(memoryview(BODY)))
        assert reply.status_code == 200


class TestExpectContinue:
    async def test_the_body_waits_for_the_word(self, serve, client):
        order: list[str] = []

        async def scene(peer):
            await peer.head()
            with trio.move_on_after(0.1):
                await peer.body(1)
                order.append("body came early")
            order.append("continue")
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await peer.body(5)
            order.append("body")
            await peer.send(CREATED)

        server = await serve(scene)
        await client.put(server.url, content=BufferStream(memoryview(b"12345")), headers={"Expect": "100-continue"})
        assert order == ["continue", "body"]

    async def test_a_refusal_saves_the_body(self, serve, client):
        sent: list[int] = []

        async def scene(peer):
            await peer.head()
            await peer.send(response("403 Forbidden", b"no"))
            await peer.gone()

        server = await serve(scene)
        reply = await client.put(
            server.url,
            content=BufferStream(memoryview(bytes(1000))),
            headers={"Expect": "100-continue"},
            extensions={"on_bytes": sent.append},
        )
        assert (reply.status_code, sent) == (403, [])

    async def test_a_server_that_ignores_it_gets_the_body_after_a_second(self, serve, client):
        sink = Sink()
        server = await serve(sink)
        start = trio.current_time()
        await client.put(server.url, content=BufferStream(memoryview(b"12345")), headers={"Expect": "100-continue"})
        assert trio.current_time() - start >= 1
        assert sink.bodies == [b"12345"]
