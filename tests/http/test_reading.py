"""Bodies and heads in whatever pieces they arrive, and whatever comes instead of them."""

from __future__ import annotations

import math

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from connector.http.deadlines import Deadlines
from connector.http.dial import Origin
from connector.http.framing import Chunked, Length, UntilClose, check_sinkable, framing_of
from connector.http.heads import HeadExchange
from connector.http.inbox import BufferedReader
from connector.http.order import RequestContext
from connector.http.request_body import BufferBody
from connector.http.response_body import BodyReader


class Tape:
    """A wire that gives the same bytes in pieces of the given sizes, then ends."""

    peer = "tape:80"

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    async def recv_into(self, view: memoryview, idle: float) -> int:
        at_most = self._sizes.pop(0) if self._sizes else len(view)
        piece = self._data[: min(at_most, len(view))]
        self._data = self._data[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)


def inbox(data: bytes, sizes: list[int]) -> BufferedReader:
    return BufferedReader(Tape(data, list(sizes)))  # type: ignore[arg-type]


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


@given(chunked_bodies(), ARRIVALS, st.booleans())
def test_chunks(bodies, arrivals, into_sink):
    body, wire = bodies
    box = inbox(wire + b"next", arrivals)
    reader = BodyReader(box, Chunked(), idle=math.inf)

    async def read() -> bytes:
        if into_sink:
            sink = bytearray(len(body))
            assert await reader.into(memoryview(sink), None) == len(body)
            return bytes(sink)
        collected = b""
        while piece := await reader.some():
            collected += piece
        return collected

    assert trio.run(read) == body
    assert reader.finished
    rest = b""

    async def drain() -> None:
        nonlocal rest
        while piece := bytes(await box.some(100, math.inf)):
            rest += piece

    trio.run(drain)
    assert rest == b"next", "a reader takes its own body and not a byte more"


@given(BODIES, ARRIVALS)
def test_lengths(body, arrivals):
    reader = BodyReader(inbox(body + b"next", arrivals), Length(len(body)), idle=math.inf)
    sink = bytearray(len(body))
    assert trio.run(reader.into, memoryview(sink), None) == len(body)
    assert sink == body


@given(st.binary(max_size=200), ARRIVALS, st.sampled_from([Chunked(), Length(50), UntilClose()]))
def test_nonsense_is_a_protocol_error_or_a_body(data, arrivals, framing):
    reader = BodyReader(inbox(data, arrivals), framing, idle=math.inf)
    sink = bytearray(100)
    try:
        received = trio.run(reader.into, memoryview(sink), None)
    except httpx.RemoteProtocolError:
        return
    assert received <= 100


def exchange(box: BufferedReader) -> HeadExchange:
    request = httpx.Request("GET", "http://tape/")
    deadlines = Deadlines()
    order = RequestContext(request, Origin.of(request), BufferBody(memoryview(b"")), None, deadlines, math.inf, None)
    heads = HeadExchange(order, box)
    heads.request_head()
    return heads


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data), ARRIVALS)
def test_heads_of_nonsense(data, arrivals):
    try:
        head = trio.run(exchange(inbox(data, arrivals)).response_head, math.inf)
        framing_of("GET", head.status, head.headers)
    except httpx.RemoteProtocolError:
        pass


@given(ARRIVALS)
def test_heads(arrivals):
    box = inbox(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial Content\r\nX-A: b\r\nx-c: d\r\n\r\nbody", arrivals)
    head = trio.run(exchange(box).response_head, math.inf)
    assert (head.status, head.reason, head.headers["x-a"]) == (206, b"Partial Content", "b")
    assert head.keeps_alive


RANGES = st.tuples(st.integers(0, 50), st.integers(0, 50))


@given(RANGES, RANGES, st.integers(0, 60) | st.none(), st.integers(0, 60))
def test_only_the_bytes_that_were_asked_for_pass(asked, got, total, length):
    """What is accepted starts where it should, ends where it may and is as long as it says."""
    headers = httpx.Headers({"content-range": f"bytes {got[0]}-{got[1]}/{'*' if total is None else total}"})
    requested = f"bytes={asked[0]}-{asked[1]}"
    try:
        check_sinkable(requested=requested, status=206, headers=headers, framing=Length(length), room=40)
    except httpx.RemoteProtocolError:
        return
    assert got[0] == asked[0]
    assert got[0] <= got[1] <= asked[1]
    assert length == got[1] - got[0] + 1 <= 40
    assert total is None or got[1] < total


@pytest.mark.parametrize("requested", [None, "bytes=0-", "bytes=0-9", "items=5-6", "bytes=1-2,4-5"])
def test_a_whole_object_is_taken_from_its_start(requested):
    check_sinkable(requested=requested, status=200, headers=httpx.Headers(), framing=Length(10), room=10)
