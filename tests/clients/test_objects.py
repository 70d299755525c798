"""Byte ranges received into buffers, and parts sent from them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import trio

from connector.clients.object_responses import MAX_WHOLE_OBJECT, find_range
from connector.clients.objects import HttpObjectClient, ObjectClient, UrlRefusedError
from connector.errors import RENEW, RETRY_NOW, BrokenError, ConnectorError, IntegrityError, RefusedError
from connector.http import AddressPolicy, HttpClient, HttpOptions
from connector.transfer import OverloadedError
from tests.support.scripted_server import Peer, ScriptedServer, answering, chunked, response

pytestmark = pytest.mark.trio

CONTENT = bytes(range(256)) * 8
START, STOP = 256, 768
PIECE = CONTENT[START:STOP]
MD5 = hashlib.md5(PIECE).hexdigest()
RIGHT = ("Content-Range", f"bytes {START}-{STOP - 1}/{len(CONTENT)}")
PARTIAL = "206 Partial Content"
RANGED = response(PARTIAL, PIECE, RIGHT)


class Storage:
    """An object client and a server that gives one answer."""

    def __init__(self, http: HttpClient, nursery: trio.Nursery) -> None:
        self.http = http
        self.objects: ObjectClient = HttpObjectClient(http)
        self.progress: list[int] = []
        self.buffer = bytearray()
        self._nursery = nursery

    async def serve(self, raw: bytes, step: int = 0) -> str:
        server: ScriptedServer = await self._nursery.start(ScriptedServer(answering(raw, step=step, times=3)).run)
        return server.url

    async def get(
        self, raw: bytes, start: int = START, stop: int = STOP, size: int | None = None, step: int = 0
    ) -> bytes:
        url, self.buffer = await self.serve(raw, step), bytearray(stop - start)
        received = await self.objects.fetch_into(
            url, start, stop, memoryview(self.buffer), self.progress.append, size=size
        )
        assert received == stop - start
        return bytes(self.buffer)

    async def put(self, raw: bytes, data: bytes = PIECE, *, md5: str = MD5) -> str:
        return await self.objects.put_from(await self.serve(raw), memoryview(data), self.progress.append, md5=md5)


@pytest.fixture
async def storage(nursery: trio.Nursery) -> AsyncIterator[Storage]:
    async with aclosing(HttpClient(HttpOptions(connect_timeout=60, read_timeout=60))) as http:
        yield Storage(http, nursery)
        assert http.pool.in_use == 0


def in_chunks(body: bytes, size: int) -> bytes:
    return chunked(body, size=size, status=PARTIAL, extra=f"{RIGHT[0]}: {RIGHT[1]}\r\n")


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("answer", [RANGED, in_chunks(PIECE, 512), in_chunks(PIECE, 13)], ids=["length", "one", "many"])
async def test_a_range_lands_in_the_buffer(storage: Storage, answer: Any, step: int) -> None:
    assert await storage.get(answer, step=step) == PIECE
    assert sum(storage.progress) == len(PIECE)
    assert storage.http.pool.idle == 1


async def test_the_request_asks_for_these_bytes_as_they_are(storage: Storage, nursery: trio.Nursery) -> None:
    heads: list[bytes] = []

    async def scene(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(RANGED)

    server = await nursery.start(ScriptedServer(scene).run)
    await storage.objects.fetch_into(server.url, START, STOP, memoryview(bytearray(512)), lambda _: None)
    assert heads[0].startswith(b"GET /object?signature=secret HTTP/1.1\r\n")
    assert b"range: bytes=256-767\r\n" in heads[0].lower()
    assert b"accept-encoding: identity\r\n" in heads[0].lower()


async def test_a_whole_object_will_do_if_the_whole_was_asked_for(storage: Storage) -> None:
    assert await storage.get(response("200 OK", CONTENT), 0, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("step", [0, 7])
@pytest.mark.parametrize(("start", "stop"), [(0, 512), (START, STOP), (1, 2048), (2047, 2048), (0, 2048)])
async def test_parts_are_picked_out_of_a_whole_object_that_comes_instead(
    storage: Storage, start: int, stop: int, step: int
) -> None:
    """A server may ignore a Range (RFC 9110, section 14.2)."""
    whole = response("200 OK", CONTENT)
    assert await storage.get(whole, start, stop, size=len(CONTENT), step=step) == CONTENT[start:stop]
    assert sum(storage.progress) == stop - start
    assert storage.http.pool.idle == (stop == len(CONTENT)), "what follows is not read"


@pytest.mark.parametrize("body", [CONTENT[:-1], CONTENT + b"x", CONTENT[:START]], ids=["shorter", "longer", "short"])
async def test_nothing_is_picked_out_of_another_object_than_was_announced(storage: Storage, body: Any) -> None:
    with pytest.raises(BrokenError) as caught:
        await storage.get(response("200 OK", body), size=len(CONTENT))
    assert caught.value.advice.again


async def test_a_whole_object_that_is_cut_off_is_not_enough(storage: Storage, nursery: trio.Nursery) -> None:
    cut = response("200 OK", CONTENT)[: -len(CONTENT) + STOP - 1]
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(cut, then="close")).run)
    buffer = memoryview(bytearray(STOP - START))
    with pytest.raises(BrokenError) as caught:
        await storage.objects.fetch_into(server.url, START, STOP, buffer, lambda _: None, size=len(CONTENT))
    assert caught.value.advice.again


async def test_parts_are_not_picked_out_of_a_large_object() -> None:
    size = MAX_WHOLE_OBJECT + 1
    headers = httpx.Headers({"Content-Length": str(size)})
    with pytest.raises(BrokenError, match="whole objects") as caught:
        find_range("https://s3.test", 200, headers, START, STOP, size)
    assert not caught.value.advice.again
    assert "--part-size" in caught.value.hint
    window = find_range("https://s3.test", 200, headers, 0, size, size)
    assert (window.offset, window.size) == (0, size)


async def test_a_total_that_is_not_told_is_no_harm(storage: Storage) -> None:
    assert await storage.get(response(PARTIAL, PIECE, ("Content-Range", f"bytes {START}-{STOP - 1}/*"))) == PIECE


@pytest.mark.parametrize(
    "coding", ["identity", "aws-chunked", "aws-chunked,", "aws-chunked, identity", " AWS-Chunked ,"]
)
async def test_codings_that_change_nothing(storage: Storage, coding: str) -> None:
    assert await storage.get(response(PARTIAL, PIECE, RIGHT, ("Content-Encoding", coding))) == PIECE


WRONG = {
    "whole": response("200 OK", CONTENT),
    "other": response(PARTIAL, PIECE, ("Content-Range", "bytes 0-511/2048")),
    "longer": response(PARTIAL, PIECE, ("Content-Range", "bytes 256-768/2048")),
    "earlier": response(PARTIAL, PIECE, ("Content-Range", "bytes 255-766/2048")),
    "later": response(PARTIAL, PIECE[1:], ("Content-Range", "bytes 257-767/2048")),
    "backwards": response(PARTIAL, b"", ("Content-Range", "bytes 256-255/2048")),
    "no content": response("204 No Content"),
    "labelled twice": response(PARTIAL, PIECE, RIGHT, ("Content-Encoding", "aws-chunked, gzip")),
    "nonsense": response(PARTIAL, PIECE, ("Content-Range", "nonsense")),
    "unnamed": response(PARTIAL, PIECE),
    "short": response(PARTIAL, PIECE[:-1], RIGHT),
    "long": response(PARTIAL, PIECE + b"x", RIGHT),
    "empty": response(PARTIAL, b"", RIGHT),
    "compressed": response(PARTIAL, PIECE, RIGHT, ("Content-Encoding", "gzip")),
    "long chunks": in_chunks(PIECE + b"x", 100),
    "short chunks": in_chunks(PIECE[:-1], 100),
}


@pytest.mark.parametrize("name", WRONG)
async def test_bytes_other_than_those_asked_for_are_not_taken(storage: Storage, name: str) -> None:
    with pytest.raises(BrokenError) as caught:
        await storage.get(WRONG[name])
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)
    assert sum(storage.progress) == (0 if "chunks" not in name else 512 if name == "long chunks" else 511)


@pytest.mark.parametrize("field", ["Bytes 256-767/2048", "bytes  256-767/2048", "bytes 0256-00767/2048"])
async def test_ranges_may_be_spelled_otherwise(storage: Storage, field: str) -> None:
    assert await storage.get(response(PARTIAL, PIECE, ("Content-Range", field))) == PIECE


@pytest.mark.parametrize("end", ["close", "reset", "wait"])
async def test_a_range_without_a_length_is_as_long_as_its_range(
    storage: Storage, nursery: trio.Nursery, end: str
) -> None:
    """Once its bytes are there nothing that follows matters, and nothing is waited for."""
    raw = f"HTTP/1.1 {PARTIAL}\r\n{RIGHT[0]}: {RIGHT[1]}\r\nConnection: close\r\n\r\n".encode() + PIECE
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(raw, then=end)).run)
    buffer = bytearray(STOP - START)
    with trio.fail_after(30):
        await storage.objects.fetch_into(server.url, START, STOP, memoryview(buffer), lambda _: None)
    assert buffer == PIECE


async def test_the_first_bytes_of_a_range_are_kept(storage: Storage) -> None:
    with pytest.raises(BrokenError) as caught:
        await storage.get(response(PARTIAL, PIECE[:100], ("Content-Range", "bytes 256-355/2048")))
    assert caught.value.advice == RETRY_NOW
    assert storage.buffer[:100] == PIECE[:100]
    assert sum(storage.progress) == 100


async def test_a_last_chunk_that_is_missing_does_no_harm(storage: Storage, nursery: trio.Nursery) -> None:
    raw = in_chunks(PIECE, 512).removesuffix(b"0\r\n\r\n")
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(raw, then="close")).run)
    buffer = bytearray(STOP - START)
    await storage.objects.fetch_into(server.url, START, STOP, memoryview(buffer), lambda _: None)
    assert buffer == PIECE


class TestRedirects:
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_another_endpoint_is_asked_once(self, storage: Storage, nursery: trio.Nursery, method: str) -> None:
        heads: list[bytes] = []

        async def other(peer: Peer) -> None:
            heads.append(await peer.head())
            assert await peer.body(len(PIECE) if method == "PUT" else 0) == (PIECE if method == "PUT" else b"")
            await peer.send(RANGED if method == "GET" else response("200 OK", b"", ("ETag", f'"{MD5}"')))

        there: ScriptedServer = await nursery.start(ScriptedServer(other).run)
        redirect = response("307 Temporary Redirect", b"moved", ("Location", f"{there.url}&rk=1"))
        if method == "GET":
            assert await storage.get(redirect) == PIECE
        else:
            assert await storage.put(redirect) == MD5
        assert sum(storage.progress) == len(PIECE)
        assert heads[0].startswith(f"{method} /object?signature=secret&rk=1 HTTP/1.1\r\n".encode())

    async def test_a_second_redirect_is_refused(self, storage: Storage, nursery: trio.Nursery) -> None:
        there: ScriptedServer = await nursery.start(
            ScriptedServer(answering(response("307 Temporary Redirect", b"", ("Location", "/object?signature=x")))).run
        )
        with pytest.raises(RefusedError, match="redirects"):
            await storage.get(response("307 Temporary Redirect", b"", ("Location", there.url)))

    async def test_another_object_is_not_taken(self, storage: Storage) -> None:
        with pytest.raises(RefusedError, match="redirects") as caught:
            await storage.get(response("307 Temporary Redirect", b"", ("Location", "http://127.0.0.1:1/other")))
        assert "secret" not in str(caught.value)

    async def test_the_address_policy_holds(self, nursery: trio.Nursery) -> None:
        """The archive's own host may be this machine; a redirect to another of its ports may not."""
        there: ScriptedServer = await nursery.start(ScriptedServer(answering(RANGED)).run)
        redirect = response("307 Temporary Redirect", b"", ("Location", there.url))
        here: ScriptedServer = await nursery.start(ScriptedServer(answering(redirect)).run)

        class OnePort(AddressPolicy):
            def is_allowed(self, host: str, port: int, address: str) -> bool:
                return port == here.port

        async with aclosing(HttpClient(HttpOptions(address_policy=OnePort("archive.test", 443)))) as http:
            with pytest.raises(BrokenError, match="connected to") as caught:
                await HttpObjectClient(http).fetch_into(
                    here.url, START, STOP, memoryview(bytearray(512)), lambda _: None
                )
        assert str(there.port) in caught.value.message
        assert there.connections == 0


async def test_a_whole_object_is_not_taken_for_its_beginning(storage: Storage) -> None:
    with pytest.raises(BrokenError):
        await storage.get(response("200 OK", CONTENT), 0, 512)
    with pytest.raises(BrokenError):
        await storage.get(chunked(CONTENT, size=100), 0, 512, size=len(CONTENT))


REFUSALS = [
    (response("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), UrlRefusedError),
    (response("401 Unauthorized"), UrlRefusedError),
    (response("404 Not Found"), UrlRefusedError),
    (response("400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>"), UrlRefusedError),
    (response("400 Bad Request", b"<Code>AuthorizationQueryParametersError</Code>"), RefusedError),
    (response("409 Conflict"), RefusedError),
    (response("413 Content Too Large"), RefusedError),
    (response("302 Found", b"", ("Location", "http://169.254.169.254/")), RefusedError),
]


@pytest.mark.parametrize(("answer", "kind"), REFUSALS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("method", ["get", "put"])
async def test_refusals_and_whether_a_new_url_may_help(
    storage: Storage, method: str, answer: Any, kind: type[Exception]
) -> None:
    with pytest.raises(RefusedError) as caught:
        await (storage.get(answer) if method == "get" else storage.put(answer))
    assert type(caught.value) is kind
    assert (caught.value.advice == RENEW) is (kind is UrlRefusedError)
    assert "secret" not in str(caught.value)
    assert not any(storage.buffer)
    assert storage.http.pool.idle == 1


BUSY = ["408 Timeout", "429 Too Many", "500 Oops", "503 Slow Down", "504 Timeout", "520 Unknown", "529 Overloaded"]


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize("method", ["get", "put"])
async def test_a_busy_storage_is_asked_again_when_it_says(storage: Storage, method: str, status: str) -> None:
    answer = response(status, b"<Code>SlowDown</Code>", ("Retry-After", "3"))
    with pytest.raises(OverloadedError) as caught:
        await (storage.get(answer) if method == "get" else storage.put(answer))
    assert (caught.value.advice.again, caught.value.advice.after) == (True, 3.0)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "RequestTimeout"), (400, "IncompleteBody"), (400, "BadDigest"), (409, "OperationAborted")],
)
async def test_a_slow_line_or_a_collision_is_no_refusal(storage: Storage, status: int, code: str) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    with pytest.raises(OverloadedError) as caught:
        await storage.put(response(f"{status} Said", body))
    assert caught.value.advice.again


async def test_an_object_that_ends_before_the_range_is_no_transient_fault(storage: Storage) -> None:
    with pytest.raises(IntegrityError, match="fewer bytes") as caught:
        await storage.get(response("416 Range Not Satisfiable", b"", ("Content-Range", "bytes */100")))
    assert not caught.value.advice.again


@pytest.mark.parametrize(
    ("fields", "etag"), [((), ""), ((("ETag", f'"{MD5.upper()}"'),), MD5.upper()), ((("ETag", '"opaque"'),), "opaque")]
)
async def test_a_part_that_is_stored_needs_no_certain_etag(
    storage: Storage, fields: tuple[Any, ...], etag: str | None
) -> None:
    assert await storage.put(response("200 OK", b"", *fields)) == etag


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"\n<?xml version='1.0'?><Error/>"])
async def test_a_page_in_answer_to_a_part_is_no_stored_part(storage: Storage, body: bytes) -> None:
    with pytest.raises(BrokenError, match="page") as caught:
        await storage.put(response("200 OK", body))
    assert caught.value.advice.again
    assert await storage.put(response("200 OK", body, ("ETag", f'"{MD5}"'))) == MD5


async def test_a_part_that_is_stored_as_something_else_is_sent_again(storage: Storage) -> None:
    with pytest.raises(IntegrityError, match="other bytes") as caught:
        await storage.put(response("200 OK", b"", ("ETag", f'"{"0" * 32}"')))
    assert caught.value.advice.again


async def test_an_upload_that_the_storage_has_lost_is_no_url_that_expired(storage: Storage) -> None:
    with pytest.raises(RefusedError) as caught:
        await storage.put(response("404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>"))
    assert (caught.value.exception_id, caught.value.advice.again) == ("NoSuchUpload", False)


async def test_all_of_a_part_is_sent(storage: Storage, nursery: trio.Nursery) -> None:
    received: list[bytes] = []

    async def scene(peer: Peer) -> None:
        head = await peer.head()
        received.append(head)
        received.append(await peer.body(len(CONTENT)))
        await peer.send(response("200 OK"))

    server: ScriptedServer = await nursery.start(ScriptedServer(scene).run)
    await storage.objects.put_from(server.url, memoryview(CONTENT), storage.progress.append, md5=MD5)
    assert received[0].startswith(b"PUT /object?signature=secret HTTP/1.1\r\n")
    assert f"content-length: {len(CONTENT)}" in received[0].decode().lower()
    assert received[1] == CONTENT
    assert sum(storage.progress) == len(CONTENT)


async def test_a_part_that_trickles_for_ever_ends_at_the_deadline(nursery: trio.Nursery) -> None:
    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(RANGED[: -len(PIECE)])
        while True:
            await peer.send(b"x")
            await trio.sleep(0.01)

    server: ScriptedServer = await nursery.start(ScriptedServer(scene).run)
    async with aclosing(HttpClient(HttpOptions())) as http:
        with trio.fail_after(30), pytest.raises(OverloadedError, match=r"more than 0\.3 seconds") as caught:
            await HttpObjectClient(http, deadline=0.3).fetch_into(
                server.url, START, STOP, memoryview(bytearray(STOP - START)), lambda _: None
            )
        assert (http.pool.in_use, http.pool.idle) == (0, 0)
    assert caught.value.advice.again


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_cut_connection_is_tried_again_from_what_was_received(
    storage: Storage, nursery: trio.Nursery, end: str
) -> None:
    cut = response(PARTIAL, PIECE[:100], RIGHT, length=len(PIECE))
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(cut, then=end)).run)
    buffer = bytearray(len(PIECE))
    with pytest.raises(BrokenError) as caught:
        await storage.objects.fetch_into(server.url, START, STOP, memoryview(buffer), storage.progress.append)
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)
    received = sum(storage.progress)
    assert buffer[:received] == PIECE[:received]


@pytest.mark.parametrize("url", ["http://[bad/o", "ftp://s3.test/o", "http://..invalid/o", "http://h:x/o"])
async def test_an_address_that_is_none_meets_no_foreign_error(storage: Storage, url: str) -> None:
    with pytest.raises(ConnectorError):
        await storage.objects.fetch_into(url, START, STOP, memoryview(bytearray(STOP - START)), lambda _: None)
    with pytest.raises(ConnectorError):
        await storage.objects.put_from(url, memoryview(PIECE), lambda _: None, md5=MD5)
