"""Bodies and heads in whatever pieces they arrive, and whatever comes instead of them."""

from __future__ import annotations

from typing import Any

import httpx
import trio
from hypothesis import given
from hypothesis import strategies as st

from connector.http.connection import Connection, Request, ResponseHead
from connector.http.response import Response
from connector.http.routes import Origin, Route
from connector.http.socket_stream import OnBytes


class Tape:
    """A stream that gives the same bytes in pieces of the given sizes, then ends."""

    peer = "tape:80"

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    async def recv_into(self, view: memoryview, idle_timeout: float | None = None) -> int:
        max_bytes = self._sizes.pop(0) if self._sizes else len(view)
        piece = self._data[: min(max_bytes, len(view))]
        self._data = self._data[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)

    async def send_all(self, view: memoryview, on_bytes: OnBytes | None = None) -> None:
        pass


def connection(data: bytes, sizes: list[int]) -> Connection:
    return Connection(Route(Origin("http", "tape", 80)), Tape(data, list(sizes)))  # type: ignore[arg-type]


def body_of(on: Connection, *fields: tuple[str, str]) -> tuple[Response, list[bool]]:
    """A response with these header fields whose body comes over the connection, and what was released."""
    released: list[bool] = []
    head = ResponseHead(200, b"OK", httpx.Headers(fields), keep_alive=True)
    return Response("GET", head, on.reader, released.append), released


CHUNKED = ("Transfer-Encoding", "chunked")
ARRIVALS = st.lists(st.integers(1, 40), max_size=60)
BODIES = st.binary(max_size=300)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and one of its chunked forms."""
    body = draw(BODIES)
    wire, position = b"", 0
    while position < len(body):
        size = draw(st.integers(1, len(body) - position))
        extension = draw(st.sampled_from([b"", b";a=b", b" ;a", b"   "]))
        number = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % size
        wire += number + extension + b"\r\n" + body[position : position + size] + b"\r\n"
        position += size
    trailers = draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
    return body, wire + b"0\r\n" + trailers + b"\r\n"


@given(chunked_bodies(), ARRIVALS, st.lists(st.integers(0, 50), max_size=10))
def test_chunks(bodies: Any, arrivals: list[int], buffers: Any) -> None:
    body, wire = bodies
    on = connection(wire + b"next", arrivals)
    response, released = body_of(on, CHUNKED)

    async def read() -> bytes:
        collected = b""
        for size in buffers:
            buffer = bytearray(size)
            received = await response.read_into(memoryview(buffer))
            assert received == min(size, len(body) - len(collected))
            collected += buffer[:received]
        while piece := await response.read_some():
            collected += piece
        return collected

    assert trio.run(read) == body
    response.close()
    assert released == [True]
    rest = b""

    async def drain() -> None:
        nonlocal rest
        while piece := bytes(await on.reader.read_some(100)):
            rest += piece

    trio.run(drain)
    assert rest == b"next", "a body is taken and not a byte more"


@given(BODIES, ARRIVALS)
def test_lengths(body: Any, arrivals: list[int]) -> None:
    response, released = body_of(connection(body + b"next", arrivals), ("Content-Length", str(len(body))))
    buffer = bytearray(len(body) + 10)
    assert trio.run(response.read_into, memoryview(buffer)) == len(body)
    assert buffer == body + bytes(10)
    response.close()
    assert released == [True]


@given(st.binary(max_size=200), ARRIVALS, st.sampled_from([(CHUNKED,), (("Content-Length", "50"),), ()]))
def test_nonsense_is_a_protocol_error_or_a_body(data: Any, arrivals: list[int], fields: Any) -> None:
    response, _ = body_of(connection(data, arrivals), *fields)
    try:
        received = trio.run(response.read_into, memoryview(bytearray(100)))
    except httpx.RemoteProtocolError:
        return
    assert received <= 100


def head_of(data: bytes, sizes: list[int]) -> ResponseHead:
    request = Request("GET", b"/", [(b"Host", b"tape")])
    return trio.run(connection(data, sizes).send_request, request)


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data), ARRIVALS)
def test_heads_of_nonsense(data: Any, arrivals: list[int]) -> None:
    try:
        head = head_of(data, arrivals)
        body_of(connection(b"", []), *head.headers.multi_items())
    except httpx.RemoteProtocolError:
        pass


@given(ARRIVALS)
def test_heads(arrivals: list[int]) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial Content\r\nX-A: b\r\nx-c: d\r\n\r\nbody"
    head = head_of(data, arrivals)
    assert (head.status, head.reason, head.headers["x-a"]) == (206, b"Partial Content", "b")
    assert head.keep_alive
