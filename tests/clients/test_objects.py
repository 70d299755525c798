"""Ranged GETs and part PUTs, over httpx alone and over the bulk transport with a real socket: the same either way."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trio

from connector.clients.objects import ObjectClient, UrlRefusedError
from connector.errors import RENEW, BrokenError, ConnectorError, IntegrityError, RefusedError
from connector.http import BulkTransport
from connector.http.client import HttpClient
from connector.transfer import OverloadedError
from tests.support.scripted_server import Peer, ScriptedServer, answering, response

pytestmark = pytest.mark.trio

CONTENT = bytes(range(256)) * 8
START, STOP = 256, 768
PIECE = CONTENT[START:STOP]
MD5 = hashlib.md5(PIECE).hexdigest()
RIGHT = ("Content-Range", f"bytes {START}-{STOP - 1}/{len(CONTENT)}")
RANGED = response("206 Partial Content", PIECE, RIGHT)

Fetch = Callable[..., Awaitable[bytes]]
Put = Callable[..., Awaitable[None]]


def as_httpx(raw: bytes) -> httpx.Response:
    """The same answer for a client that has no socket."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = [tuple(field.split(": ", 1)) for field in fields]

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    return httpx.Response(int(status.split()[1]), headers=headers, content=stream())  # type: ignore[arg-type]


class Way:
    """One of two ways to an answer: httpx with a mock, or our transport with a socket."""

    def __init__(self, name: str, nursery: trio.Nursery) -> None:
        self.name = name
        self.progress: list[int] = []
        self.asked: list[str] = []
        self._nursery = nursery

    async def client(self, raw: bytes) -> tuple[HttpClient, str]:
        if self.name == "httpx":

            async def handler(request: httpx.Request) -> httpx.Response:
                await request.aread()
                self.asked.append(request.headers.get("range", ""))
                return as_httpx(raw)

            return HttpClient(httpx.MockTransport(handler)), "http://s3.test/o?signature=secret"
        server: ScriptedServer = await self._nursery.start(ScriptedServer(answering(raw, times=3)).run)
        return HttpClient(BulkTransport(), httpx.Timeout(5)), server.url

    async def get(self, raw: bytes, start: int = START, stop: int = STOP, size: int | None = None) -> bytes:
        client, url = await self.client(raw)
        buffer, progress = bytearray(stop - start), self.progress.append
        async with client:
            await ObjectClient(client).get_range(url, start, stop, memoryview(buffer), progress, size=size)
        return bytes(buffer)

    async def put(self, raw: bytes, data: bytes = PIECE, *, md5: str = MD5) -> None:
        client, url = await self.client(raw)
        async with client:
            await ObjectClient(client).put_part(url, memoryview(data), self.progress.append, md5=md5)


@pytest.fixture(params=["httpx", "bulk"])
def way(request: pytest.FixtureRequest, nursery: trio.Nursery) -> Way:
    return Way(request.param, nursery)


async def test_a_range_lands_in_the_buffer(way):
    assert await way.get(RANGED) == PIECE
    assert sum(way.progress) == len(PIECE)
    assert set(way.asked) <= {"bytes=256-767"}


async def test_a_whole_object_will_do_if_the_whole_was_asked_for(way):
    assert await way.get(response("200 OK", CONTENT), 0, len(CONTENT)) == CONTENT


@pytest.mark.parametrize(("start", "stop"), [(0, 512), (START, STOP), (1, 2048), (2047, 2048), (0, 2048)])
async def test_parts_are_picked_out_of_a_whole_object_that_comes_instead(way, start, stop):
    """A server may ignore a Range (RFC 9110, section 14.2)."""
    assert await way.get(response("200 OK", CONTENT), start, stop, size=len(CONTENT)) == CONTENT[start:stop]
    assert sum(way.progress) == stop - start


@pytest.mark.parametrize("body", [CONTENT[:-1], CONTENT + b"x", CONTENT[:START]], ids=["shorter", "longer", "short"])
async def test_nothing_is_picked_out_of_another_object_than_was_announced(way, body):
    with pytest.raises(BrokenError) as caught:
        await way.get(response("200 OK", body), size=len(CONTENT))
    assert caught.value.advice.again


async def test_a_whole_object_that_is_cut_off_is_not_enough(way):
    cut = response("200 OK", CONTENT)[: -len(CONTENT) + STOP - 1]
    with pytest.raises(BrokenError) as caught:
        await way.get(cut, size=len(CONTENT))
    assert caught.value.advice.again


async def test_parts_are_not_picked_out_of_a_large_object(way, monkeypatch):
    for module in ("connector.clients.objects", "connector.http.framing"):
        monkeypatch.setattr(f"{module}.WHOLE_AT_MOST", 2000)
    with pytest.raises(BrokenError, match="sends whole objects") as caught:
        await way.get(response("200 OK", CONTENT), size=len(CONTENT))
    assert not caught.value.advice.again
    assert "--part-size" in caught.value.hint
    assert await way.get(response("200 OK", CONTENT), 0, len(CONTENT), size=len(CONTENT)) == CONTENT


async def test_a_total_that_is_not_told_is_no_harm(way):
    unknown = ("Content-Range", f"bytes {START}-{STOP - 1}/*")
    assert await way.get(response("206 Partial Content", PIECE, unknown)) == PIECE


@pytest.mark.parametrize(
    "answer",
    [
        response("200 OK", CONTENT),
        response("206 Partial Content", PIECE, ("Content-Range", "bytes 0-511/2048")),
        response("206 Partial Content", PIECE, ("Content-Range", "bytes 256-768/2048")),
        response("206 Partial Content", PIECE, ("Content-Range", "nonsense")),
        response("206 Partial Content", PIECE),
        response("206 Partial Content", PIECE[:-1], RIGHT),
        response("206 Partial Content", PIECE + b"x", RIGHT),
        response("206 Partial Content", b"", RIGHT),
    ],
    ids=["whole", "other", "longer", "nonsense", "unnamed", "short", "long", "empty"],
)
async def test_bytes_other_than_those_asked_for_are_not_taken(way, answer):
    with pytest.raises(BrokenError) as caught:
        await way.get(answer)
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)


async def test_a_whole_object_is_not_taken_for_its_beginning(way):
    with pytest.raises(BrokenError):
        await way.get(response("200 OK", CONTENT), 0, 512)


REFUSALS = [
    (response("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), UrlRefusedError),
    (response("401 Unauthorized"), UrlRefusedError),
    (response("404 Not Found"), UrlRefusedError),
    (response("400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>"), UrlRefusedError),
    (response("400 Bad Request", b"<Code>AuthorizationQueryParametersError</Code>"), RefusedError),
    (response("409 Conflict"), RefusedError),
    (response("302 Found", b"", ("Location", "http://169.254.169.254/")), RefusedError),
]


@pytest.mark.parametrize(("answer", "kind"), REFUSALS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("method", ["get", "put"])
async def test_refusals_and_whether_a_new_url_may_help(way, method, answer, kind):
    with pytest.raises(RefusedError) as caught:
        await (way.get(answer) if method == "get" else way.put(answer))
    assert type(caught.value) is kind
    assert (caught.value.advice == RENEW) is (kind is UrlRefusedError)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", ["408 Timeout", "429 Too Many", "500 Oops", "503 Slow Down", "504 Timeout"])
@pytest.mark.parametrize("method", ["get", "put"])
async def test_a_busy_storage_is_asked_again_when_it_says(way, method, status):
    answer = response(status, b"<Code>SlowDown</Code>", ("Retry-After", "3"))
    with pytest.raises(OverloadedError) as caught:
        await (way.get(answer) if method == "get" else way.put(answer))
    assert (caught.value.advice.again, caught.value.advice.after) == (True, 3.0)


async def test_an_object_that_ends_before_the_range_is_no_transient_fault(way):
    with pytest.raises(IntegrityError, match="fewer bytes") as caught:
        await way.get(response("416 Range Not Satisfiable", b"", ("Content-Range", "bytes */100")))
    assert not caught.value.advice.again


@pytest.mark.parametrize("fields", [(), (("ETag", f'"{MD5.upper()}"'),), (("ETag", '"opaque"'),)])
async def test_a_part_that_is_stored_needs_no_certain_etag(way, fields):
    await way.put(response("200 OK", b"", *fields))


async def test_a_part_that_is_stored_as_something_else_is_sent_again(way):
    with pytest.raises(IntegrityError, match="other bytes") as caught:
        await way.put(response("200 OK", b"", ("ETag", f'"{"0" * 32}"')))
    assert caught.value.advice.again


async def test_an_upload_that_the_storage_has_lost_is_no_url_that_ran_out(way):
    with pytest.raises(RefusedError) as caught:
        await way.put(response("404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>"))
    assert (caught.value.exception_id, caught.value.advice.again) == ("NoSuchUpload", False)


async def test_all_of_a_part_is_sent(nursery):
    received: list[bytes] = []

    async def scene(peer: Peer) -> None:
        head = await peer.head()
        received.append(head)
        received.append(await peer.body(len(CONTENT)))
        await peer.send(response("200 OK"))

    server: ScriptedServer = await nursery.start(ScriptedServer(scene).run)
    progress: list[int] = []
    async with HttpClient(BulkTransport(), httpx.Timeout(5)) as client:
        await ObjectClient(client).put_part(server.url, memoryview(CONTENT), progress.append, md5=MD5)
    assert received[0].startswith(b"PUT /object?signature=secret HTTP/1.1\r\n")
    assert f"content-length: {len(CONTENT)}" in received[0].decode().lower()
    assert received[1] == CONTENT
    assert sum(progress) == len(CONTENT)


async def test_all_of_a_part_is_sent_through_httpx_too():
    """Behind a proxy, where our own transport steps aside."""
    received: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(200)

    data = CONTENT * 100
    progress: list[int] = []
    async with HttpClient(httpx.MockTransport(handler)) as client:
        await ObjectClient(client).put_part("http://s3.test/o", memoryview(data), progress.append, md5=MD5)
    assert sum(progress) == len(data)
    assert received[0].content == data
    assert received[0].headers["content-length"] == str(len(data))
    assert "transfer-encoding" not in received[0].headers


async def test_a_part_that_trickles_for_ever_ends_at_the_deadline(autojump_clock):
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await trio.sleep(1)
            yield b"x"

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(206, headers=[RIGHT], content=trickle())

    async with HttpClient(httpx.MockTransport(handler)) as client:
        with pytest.raises(OverloadedError, match="more than 60 seconds") as caught:
            await ObjectClient(client, deadline=60.0).get_range(
                "http://s3.test/o", START, STOP, memoryview(bytearray(STOP - START)), lambda _: None
            )
    assert caught.value.advice.again
    assert trio.current_time() == 60.0


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_cut_connection_is_tried_again(nursery, end):
    cut = response("206 Partial Content", PIECE[:100], RIGHT, length=len(PIECE))
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(cut, then=end)).run)
    async with HttpClient(BulkTransport(), httpx.Timeout(5)) as client:
        with pytest.raises(BrokenError) as caught:
            await ObjectClient(client).get_range(
                server.url, START, STOP, memoryview(bytearray(len(PIECE))), lambda _: None
            )
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[bad/o", "ftp://s3.test/o", "http://..invalid/o", "http://h:x/o"])
async def test_an_address_that_is_none_meets_no_foreign_error(url):
    async with HttpClient(BulkTransport(), httpx.Timeout(5)) as client:
        objects = ObjectClient(client)
        with pytest.raises(ConnectorError):
            await objects.get_range(url, START, STOP, memoryview(bytearray(STOP - START)), lambda _: None)
        with pytest.raises(ConnectorError):
            await objects.put_part(url, memoryview(PIECE), lambda _: None, md5=MD5)
