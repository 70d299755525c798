"""Bodies that go into the caller's buffer: fed whole, in pieces and byte by byte."""

from __future__ import annotations

import random

import httpx
import pytest

from tests.support.scripted_server import answering, chunked, response

pytestmark = pytest.mark.trio

BODY = random.Random(1).randbytes(200)
RANGE = {"Range": "bytes=100-299"}
PARTIAL = ("206 Partial Content", BODY, ("Content-Range", "bytes 100-299/5000"))

STEPS = [0, 1, 7]


def answers() -> dict[str, bytes]:
    return {
        "length": response(*PARTIAL),
        "one chunk": chunked(
            BODY, size=200, status="206 Partial Content", extra="Content-Range: bytes 100-299/5000\r\n"
        ),
        "small chunks": chunked(
            BODY, size=13, status="206 Partial Content", extra="Content-Range: bytes 100-299/5000\r\n"
        ),
        "trailers": chunked(
            BODY,
            size=80,
            status="206 Partial Content",
            extra="Content-Range: bytes 100-299/5000\r\n",
            trailers=b"X-Checksum: none\r\n",
        ),
        "interim first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
        + response(*PARTIAL),
    }


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", answers())
async def test_body_lands_in_the_sink(serve, client, transport, name, step):
    server = await serve(answering(answers()[name], step=step, times=2))
    for _ in range(2):
        sink = bytearray(200)
        seen: list[int] = []
        reply = await client.get(server.url, headers=RANGE, extensions={"sink": sink, "on_bytes": seen.append})
        assert (reply.status_code, reply.extensions["received"]) == (206, 200)
        assert sink == BODY
        assert sum(seen) == 200
        assert reply.content == b""
    assert server.connections == 1, "a response with a known end leaves its connection to the next request"
    assert transport.pool.idle == 1


async def test_object_that_ends_before_the_range_says_how_much_it_was(serve, client):
    short = response("206 Partial Content", BODY[:50], ("Content-Range", "bytes 100-149/150"))
    server = await serve(answering(short))
    sink = bytearray(200)
    reply = await client.get(server.url, headers=RANGE, extensions={"sink": sink})
    assert reply.extensions["received"] == 50
    assert sink[:50] == BODY[:50]
    assert not any(sink[50:])


async def test_whole_object_without_a_range(serve, client):
    server = await serve(answering(response("200 OK", BODY)))
    sink = bytearray(300)
    reply = await client.get(server.url, extensions={"sink": memoryview(sink)})
    assert reply.extensions["received"] == 200
    assert sink[:200] == BODY


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("asked", "kept"), [("0-99", 0), ("100-199", 1), ("50-120", 0)])
async def test_a_range_is_picked_out_of_the_whole_object(serve, client, transport, asked, kept, step):
    """The connection lives on only where nothing follows that nobody wants."""
    first, last = map(int, asked.split("-"))
    server = await serve(answering(response("200 OK", BODY), step=step, times=2))
    sink, seen = bytearray(last + 1 - first), list[int]()
    extensions = {"sink": sink, "whole": len(BODY), "on_bytes": seen.append}
    reply = await client.get(server.url, headers={"Range": f"bytes={asked}"}, extensions=extensions)
    assert (reply.status_code, reply.extensions["received"]) == (200, len(sink))
    assert sink == BODY[first : last + 1]
    assert sum(seen) == len(sink)
    assert transport.pool.idle == kept


async def test_large_body_is_not_touched_by_other_sizes_of_read(serve, client):
    body = random.Random(2).randbytes(5_000_000)
    server = await serve(answering(response("200 OK", body)))
    sink = bytearray(len(body))
    reply = await client.get(server.url, extensions={"sink": sink})
    assert reply.extensions["received"] == len(body)
    assert sink == body


async def test_the_request_asks_for_the_bytes_as_they_are(serve, client):
    heads: list[bytes] = []

    async def scene(peer):
        heads.append(await peer.head())
        await peer.send(response("200 OK", b"x"))

    server = await serve(scene)
    await client.get(server.url, extensions={"sink": bytearray(1)})
    assert heads[0].startswith(b"GET /object?signature=secret HTTP/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in heads[0].lower()
    assert heads[0].lower().count(b"accept-encoding") == 1


HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-299/5000\r\n"
WRONG = {
    "short body": (response(*PARTIAL)[:-1], "after 199 of 200 bytes"),
    "cut in the head": (b"HTTP/1.1 206 Part", "without an answer"),
    "nothing at all": (b"", "without an answer"),
    "no HTTP": (b"220 smtp.example.org ESMTP\r\n\r\n", "does not speak HTTP"),
    "endless head": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000, "does not speak HTTP"),
    "interim for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, "without end"),
    "body longer than the sink": (
        response("206 Partial Content", BODY + b"x", ("Content-Range", "bytes 100-300/5000")),
        "'bytes 100-300/5000'",
    ),
    "whole object longer than the sink": (response("200 OK", BODY + b"x"), "whole object"),
    "more bytes than announced": (response(*PARTIAL) + b"x", "too long"),
    "other bytes": (response("206 Partial Content", BODY, ("Content-Range", "bytes 101-300/5000")), "bytes 101-300"),
    "earlier bytes": (response("206 Partial Content", BODY, ("Content-Range", "bytes 0-199/5000")), "bytes 0-199"),
    "range and length disagree": (
        response("206 Partial Content", BODY, ("Content-Range", "bytes 100-298/5000")),
        "contradicts itself",
    ),
    "no range named": (response("206 Partial Content", BODY), "did not say which bytes"),
    "range that is none": (response("206 Partial Content", BODY, ("Content-Range", "bytes x")), "which bytes"),
    "no length": (HEAD + b"Connection: close\r\n\r\n" + BODY, "without saying how long"),
    "two lengths": (HEAD + b"Content-Length: 200\r\nContent-Length: 10\r\n\r\n" + BODY, "does not speak HTTP"),
    "odd coding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + BODY, "does not speak HTTP"),
    "compressed": (response(*PARTIAL, ("Content-Encoding", "gzip")), "'gzip'"),
    "chunks beyond the sink": (
        chunked(BODY + b"x", size=100, status="206 Partial Content", extra="Content-Range: bytes 100-299/5000\r\n"),
        "too long",
    ),
    "chunks that are fewer than the range": (
        chunked(BODY[:-1], size=90, status="206 Partial Content", extra="Content-Range: bytes 100-299/5000\r\n"),
        "199 of the 200 bytes",
    ),
    "range beyond the object": (
        response("206 Partial Content", BODY, ("Content-Range", "bytes 100-299/299")),
        "contradicts itself",
    ),
    "chunk cut": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nc8\r\nabc", "after 3 of 200 bytes"),
    "chunk without size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "without a size"),
    "negative chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc", "without a size"),
    "chunk longer than announced": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "longer than"),
    "endless chunk line": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"x" * 20_000, "endless line"),
    "endless trailers": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 100,
        "endless trailers",
    ),
    "no last chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "within a chunk's frame"),
    "switching protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "does not speak HTTP"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_answers_are_named(serve, client, transport, name):
    answer, sentence = WRONG[name]
    server = await serve(answering(answer, then="close"))
    sink = bytearray(200)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await client.get(server.url, headers=RANGE, extensions={"sink": sink})
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert transport.pool.idle == 0


async def test_reset_in_the_body_is_a_read_error(serve, client):
    server = await serve(answering(response(*PARTIAL)[:-10], then="reset"))
    with pytest.raises(httpx.ReadError):
        await client.get(server.url, headers=RANGE, extensions={"sink": bytearray(200)})


async def test_whole_object_in_answer_to_a_later_range(serve, client):
    server = await serve(answering(response("200 OK", BODY)))
    with pytest.raises(httpx.RemoteProtocolError, match="whole object"):
        await client.get(server.url, headers={"Range": "bytes=5-204"}, extensions={"sink": bytearray(200)})


async def test_part_that_nobody_asked_for(serve, client):
    server = await serve(answering(response(*PARTIAL)))
    with pytest.raises(httpx.RemoteProtocolError, match="nobody asked"):
        await client.get(server.url, extensions={"sink": bytearray(200)})


async def test_too_long_a_whole_object(serve, client):
    server = await serve(answering(response("200 OK", BODY)))
    sink = bytearray(199)
    with pytest.raises(httpx.RemoteProtocolError, match="200 bytes where at most 199"):
        await client.get(server.url, extensions={"sink": sink})
    assert not any(sink)


@pytest.mark.parametrize("coding", ["identity", "aws-chunked"])
async def test_codings_that_change_nothing(serve, client, coding):
    server = await serve(answering(response("200 OK", BODY, ("Content-Encoding", coding))))
    reply = await client.get(server.url, extensions={"sink": bytearray(200)})
    assert reply.extensions["received"] == 200


class TestOtherStatuses:
    async def test_an_error_leaves_the_sink_alone(self, serve, client, transport):
        server = await serve(answering(response("403 Forbidden", b"<Error/>"), times=2))
        sink = bytearray(200)
        for _ in range(2):
            reply = await client.get(server.url, headers=RANGE, extensions={"sink": sink})
            assert (reply.status_code, reply.text) == (403, "<Error/>")
            assert "received" not in reply.extensions
        assert not any(sink)
        assert server.connections == 1

    async def test_redirects_are_not_followed(self, serve, client):
        server = await serve(answering(response("307 Temporary Redirect", b"", ("Location", "http://127.0.0.1:1/"))))
        reply = await client.get(server.url, extensions={"sink": bytearray(10)})
        assert reply.status_code == 307
        assert server.connections == 1

    async def test_a_flood_is_cut_at_64_KiB(self, serve, client, transport):
        async def scene(peer):
            await peer.head()
            await peer.send(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

        server = await serve(scene)
        reply = await client.get(server.url, extensions={"sink": bytearray(10)})
        assert reply.status_code == 500
        assert len(reply.content) == 65536
        assert transport.pool.idle == 0

    async def test_a_cut_error_body_still_tells_the_status(self, serve, client, transport):
        server = await serve(answering(response("503 Slow Down", b"<Err", length=100), then="close"))
        reply = await client.get(server.url, extensions={"sink": bytearray(10)})
        assert (reply.status_code, reply.text) == (503, "<Err")
        assert transport.pool.idle == 0

    async def test_no_content(self, serve, client, transport):
        server = await serve(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
        reply = await client.get(server.url, extensions={"sink": bytearray(10)})
        assert reply.status_code == 204
        assert transport.pool.idle == 1
