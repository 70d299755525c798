"""Bodies that are received into a buffer: fed whole, in pieces and byte by byte."""

from __future__ import annotations

import random

import httpx
import pytest

from connector.http import HttpClient
from tests.http.conftest import Serve
from tests.support.http_calls import get, get_into
from tests.support.scripted_server import Peer, answering, chunked, response

pytestmark = pytest.mark.trio

BODY = random.Random(1).randbytes(200)

ANSWERS = {
    "length": response(body=BODY),
    "one chunk": chunked(BODY, size=200),
    "small chunks": chunked(BODY, size=13),
    "trailers": chunked(BODY, size=80, trailers=b"X-Checksum: none\r\n"),
    "interim first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    + response(body=BODY),
}


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("name", ANSWERS)
async def test_the_body_lands_in_the_buffer(serve: Serve, client: HttpClient, name: str, step: int) -> None:
    server = await serve(answering(ANSWERS[name], step=step, times=2))
    for _ in range(2):
        buffer, seen = bytearray(200), list[int]()
        assert await get_into(client, server.url, buffer, seen.append) == 200
        assert buffer == BODY
        assert sum(seen) == 200
    assert server.connections == 1, "a response with a known end leaves its connection to the next request"
    assert client.pool.idle == 1


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_body_that_is_shorter_than_the_buffer(serve: Serve, client: HttpClient, name: str) -> None:
    server = await serve(answering(ANSWERS[name]))
    buffer = bytearray(300)
    assert await get_into(client, server.url, buffer) == 200
    assert buffer == BODY + bytes(100)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize(("sizes", "kept"), [((50, 100), 0), ((50, 100, 0, 100), 1)])
async def test_a_body_in_several_buffers(
    serve: Serve, client: HttpClient, name: str, sizes: tuple[int, ...], kept: int
) -> None:
    server = await serve(answering(ANSWERS[name]))
    response = await client.request("GET", server.url)
    received = bytearray()
    for size in sizes:
        buffer = bytearray(size)
        count = await response.read_into(memoryview(buffer))
        received += buffer[:count]
    response.close()
    response.close()
    assert received == BODY[: sum(sizes)]
    assert client.pool.idle == kept, "a body that was not read to its end closes the connection"


async def test_a_large_body(serve: Serve, client: HttpClient) -> None:
    body = random.Random(2).randbytes(5_000_000)
    server = await serve(answering(response("200 OK", body)))
    buffer = bytearray(len(body))
    assert await get_into(client, server.url, buffer) == len(body)
    assert buffer == body


async def test_the_target_of_the_request(serve: Serve, client: HttpClient) -> None:
    heads: list[bytes] = []

    async def scene(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(response("200 OK", b"x"))

    server = await serve(scene)
    await get(client, server.url + "#fragment", (b"Range", b"bytes=0-0"))
    assert heads[0].startswith(b"GET /object?signature=secret HTTP/1.1\r\n")
    assert b"Range: bytes=0-0\r\n" in heads[0]


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WRONG = {
    "short body": (response(body=BODY)[:-1], "after 199 of 200 bytes"),
    "cut in the head": (b"HTTP/1.1 206 Part", "without a response"),
    "nothing at all": (b"", "without a response"),
    "no HTTP": (b"220 smtp.example.org ESMTP\r\n\r\n", "speak HTTP"),
    "endless head": (OK + b"X: " + b"a" * 200_000, "speak HTTP"),
    "interim for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, "without end"),
    "two lengths": (OK + b"Content-Length: 200\r\nContent-Length: 10\r\n\r\n" + BODY, "speak HTTP"),
    "no number": (OK + b"Content-Length: 1e3\r\n\r\n" + BODY, "speak HTTP"),
    "a length beyond all lengths": (OK + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n" + BODY, "no number"),
    "odd coding": (OK + b"Transfer-Encoding: gzip\r\n\r\n" + BODY, "speak HTTP"),
    "chunk cut": (CHUNKED + b"c8\r\nabc", "after 3 of 200 bytes"),
    "chunk without size": (CHUNKED + b"zz\r\nabc", "without a size"),
    "negative chunk": (CHUNKED + b"-3\r\nabc", "without a size"),
    "chunk longer than announced": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", "longer than"),
    "endless chunk line": (CHUNKED + b"3;" + b"x" * 20_000, "without end"),
    "endless trailers": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 100, "without end"),
    "no last chunk": (CHUNKED + b"3\r\nabc\r\n", "within a chunk"),
    "switching protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "speak HTTP"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_answers_are_named(serve: Serve, client: HttpClient, name: str) -> None:
    answer, keyword = WRONG[name]
    server = await serve(answering(answer, then="close"))
    with pytest.raises(httpx.RemoteProtocolError, match=keyword) as caught:
        await get_into(client, server.url, bytearray(200))
    assert "secret" not in str(caught.value)
    assert client.pool.idle == 0


@pytest.mark.parametrize("answer", [response(body=BODY)[:-10], chunked(BODY, size=200)[:-20]])
@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_cut_is_not_the_end_of_a_body_that_is_read_in_pieces(
    serve: Serve, client: HttpClient, answer: bytes, end: str
) -> None:
    server = await serve(answering(answer, then=end))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await get(client, server.url)


async def test_reset_in_the_body_is_a_read_error(serve: Serve, client: HttpClient) -> None:
    server = await serve(answering(response(body=BODY)[:-10], then="reset"))
    with pytest.raises(httpx.ReadError):
        await get_into(client, server.url, bytearray(200))


async def test_a_body_that_ends_with_the_connection(serve: Serve, client: HttpClient) -> None:
    server = await serve(answering(OK + b"\r\n" + BODY, then="close"))
    buffer = bytearray(200)
    assert await get_into(client, server.url, buffer) == 200
    assert buffer == BODY
    assert (await get(client, server.url)).body == BODY
    assert (server.connections, client.pool.idle) == (2, 0)


class TestErrors:
    async def test_a_flood_is_cut_at_64_KiB(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.head()
            await peer.send(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

        server = await serve(scene)
        reply = await client.api.get(server.url)
        assert (reply.status_code, len(reply.content)) == (500, 65536)
        assert client.pool.idle == 0

    async def test_a_cut_body_still_tells_the_status(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(response("503 Slow Down", b"<Err", length=100), then="close"))
        reply = await client.api.get(server.url)
        assert (reply.status_code, reply.text) == (503, "<Err")
        assert client.pool.idle == 0

    async def test_no_content(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
        assert (await get(client, server.url)).status == 204
        assert client.pool.idle == 1
