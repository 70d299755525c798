"""`http` against a server that answers in every way RFC 9110 and 9112 allow: right bytes, or one clear sentence.

Several requests go over one pool, so that connections are used again after every kind of answer.
"""

from __future__ import annotations

import json
import re
from contextlib import aclosing

import attrs
import trio
from hypothesis import strategies as st

from connector.clients.api_transport import ApiRequest, ApiTransport
from connector.clients.objects import HttpObjectClient
from connector.errors import ConnectorError
from connector.http import HttpClient, HttpOptions
from tests.fuzz.conftest import Fuzz
from tests.support.http_answers import CODERS, CONTENT, ETAG, HARMLESS, Answer, Range, answers, ranges
from tests.support.scripted_server import Peer, ScriptedServer

JSON = json.dumps({"values": ["\u00fc" * 50] * 20}).encode()
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@attrs.frozen
class Exchange:
    """One request, and how it is answered; `size` is that of a body which is put."""

    kind: str
    answer: Answer
    range: Range
    size: int


EXCHANGES = st.builds(
    Exchange, st.sampled_from(["get", "get", "put", "api"]), answers(), ranges(), st.sampled_from([1, 5000, 400_000])
)


class Server:
    """Answers whatever comes as the present exchange says."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.received = b""
        self.taken = 0

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            exchange = self.exchange
            assert exchange is not None
            answer = exchange.answer
            size = int(found[1]) if (found := LENGTH.search(head)) else 0
            if not (answer.early and exchange.kind == "put"):
                self.received = await peer.body(size)
            if not await answer.play(peer, self._wire(exchange, b"&moved" in head.partition(b"\r\n")[0])):
                return
            if answer.early and exchange.kind == "put":
                await peer.body(size)

    def _wire(self, exchange: Exchange, moved: bool) -> bytes:
        answer, wanted = exchange.answer, exchange.range
        fields = [("Content-Encoding", answer.coding)] if answer.coding else []
        if isinstance(answer.sends, int) and not (answer.sends == 307 and moved):
            location = [("Location", "/object?signature=secret&moved")] if answer.sends in (302, 307) else []
            body = b"" if answer.sends in (204, 304) else b"<Error><Code>Refused</Code></Error>"
            return attrs.evolve(answer, framing="close" if not body else answer.framing).wire(
                body, answer.sends, location
            )
        if exchange.kind == "put":
            return answer.wire(b"", 200, [("ETag", ETAG)])
        if exchange.kind == "api":
            coder = CODERS.get(answer.coding, bytes)
            return answer.wire(coder(JSON), 200, fields)
        if answer.sends == "whole":
            return answer.wire(CONTENT, 200, fields)
        stop = wanted.start + max(1, (wanted.stop - wanted.start) // 2) if answer.sends == "first" else wanted.stop
        field = ("Content-Range", f"bytes {wanted.start}-{stop - 1}/{len(CONTENT)}")
        return answer.wire(CONTENT[wanted.start : stop], 206, [*fields, field])


class Client:
    """Makes the requests, and judges what came of them."""

    def __init__(self, http: HttpClient, server: Server, url: str) -> None:
        self._objects = HttpObjectClient(http)
        self._api = ApiTransport(http.api, deadline=60)
        self._server = server
        self._url = url

    async def run(self, exchange: Exchange) -> None:
        self._server.exchange = exchange
        request = {"get": self._get, "put": self._put, "api": self._call}[exchange.kind]
        with trio.fail_after(180):
            error = await request(exchange)
        if error is not None:
            assert re.fullmatch(r"[^\n]+\.", error.message), error.message
            assert "secret" not in str(error)
            assert error.hint
            assert not self._must_work(exchange), error

    async def _get(self, exchange: Exchange) -> ConnectorError | None:
        wanted, answer = exchange.range, exchange.answer
        buffer = bytearray(wanted.stop - wanted.start)
        counts: list[int] = []
        view, failure = memoryview(buffer), None
        try:
            await self._objects.fetch_into(self._url, wanted.start, wanted.stop, view, counts.append, size=len(CONTENT))
        except ConnectorError as error:
            failure = error
        told = sum(counts)
        assert buffer[:told] == CONTENT[wanted.start : wanted.start + told], "what was reported is right"
        if failure is None:
            assert told == len(buffer)
            assert answer.coding in HARMLESS
        elif answer.sends == "first" and len(buffer) > 1 and _is_usable(answer):
            assert (told, failure.advice.after) == (len(buffer) // 2, 0), "the rest is asked for at once"
        return failure

    async def _put(self, exchange: Exchange) -> ConnectorError | None:
        body, counts = bytes(exchange.size), list[int]()
        try:
            etag = await self._objects.put_from(self._url, memoryview(body), counts.append, md5="0" * 32)
        except ConnectorError as error:
            return error
        assert etag == ("" if exchange.answer.sends == 204 else ETAG.strip('"'))
        assert sum(counts) == exchange.size
        assert exchange.answer.early or self._server.received == body
        return None

    async def _call(self, exchange: Exchange) -> ConnectorError | None:
        answer = exchange.answer
        try:
            reply = await self._api.send(ApiRequest("GET", self._url))
        except ConnectorError as error:
            return error
        if isinstance(answer.sends, int):
            assert reply.status == answer.sends
        elif answer.coding in (*HARMLESS, "gzip", "deflate"):  # httpx decodes no other
            is_cut = answer.framing == "close" and not answer.is_whole and not answer.is_reset
            assert reply.body == JSON or (is_cut and JSON.startswith(reply.body)), answer
        return None

    def _must_work(self, exchange: Exchange) -> bool:
        """Whether the answer is one with which a client can do what it wants."""
        answer, wanted = exchange.answer, exchange.range
        if exchange.kind == "put":
            return not isinstance(answer.sends, int) and answer.is_whole and not answer.early
        if exchange.kind == "api":
            return answer.coding != "br" and answer.is_whole and not answer.is_reset
        if answer.sends == "whole":
            is_all = (wanted.start, wanted.stop) == (0, len(CONTENT))
            return _is_usable(answer) and (is_all or answer.framing in ("length", "twice"))
        return answer.sends == "range" and _is_usable(answer)


def _is_usable(answer: Answer) -> bool:
    return answer.coding in HARMLESS and answer.is_whole and not answer.is_reset


def test_every_form_of_answer(fuzz: Fuzz) -> None:
    def check(exchanges: list[Exchange]) -> None:
        async def main() -> None:
            server = Server()
            async with trio.open_nursery() as nursery:
                scripted: ScriptedServer = await nursery.start(ScriptedServer(server).run)
                async with aclosing(HttpClient(HttpOptions(connect_timeout=30, read_timeout=30))) as http:
                    client = Client(http, server, scripted.url)
                    for exchange in exchanges:
                        await client.run(exchange)
                    assert http.pool.in_use == 0
                nursery.cancel_scope.cancel()

        trio.run(main)

    assert fuzz(st.lists(EXCHANGES, min_size=1, max_size=4), check) > 10
