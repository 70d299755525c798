"""One API request and its answer: bounded in time and size, and never a foreign exception."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_transport import MAX_BODY, ApiRequest, ApiTransport, broken
from connector.errors import NO_RETRY, RETRY, RETRY_NOW, BrokenError, RetryPolicy
from connector.http import HttpClient, HttpOptions, UntrustedCertificateError
from connector.transfer import OverloadedError
from tests.clients.conftest import Handler
from tests.support.scripted_server import ScriptedServer, answering, response

pytestmark = pytest.mark.trio

URL = "https://archive.test/api/things/secret-id?signature=secret"


async def test_a_request_is_sent_as_it_says(answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"a": 1}, headers={"Cache-Control": "max-age=5", "X-Thing": "y"})

    request = ApiRequest("POST", "https://archive.test/x", token="t0ken", data={"alias": "å"}, params={"skip": 2})
    reply = await ApiTransport(answered_by(handler)).send(request)
    (sent,) = seen
    assert (sent.method, str(sent.url)) == ("POST", "https://archive.test/x?skip=2")
    assert sent.headers["authorization"] == "Bearer t0ken"
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.content) == {"alias": "å"}
    assert (reply.status, reply.headers["cache-control"], reply.headers["x-thing"]) == (201, "max-age=5", "y")
    assert json.loads(reply.body) == {"a": 1}
    assert reply.server == "https://archive.test"


async def test_nothing_is_sent_that_was_not_asked_for(answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        assert "content-type" not in request.headers
        assert request.content == b""
        assert str(request.url) == URL
        return httpx.Response(204)

    assert (await ApiTransport(answered_by(handler)).send(ApiRequest("GET", URL))).status == 204


async def test_secrets_stay_out_of_what_is_shown() -> None:
    shown = repr(ApiRequest("POST", "https://archive.test/x", token="t0ken", data={"secret": "s3cret"}))
    assert "t0ken" not in shown
    assert "s3cret" not in shown


async def test_an_answer_that_does_not_come_ends_at_the_deadline(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(OverloadedError, match="30 seconds") as caught:
        await ApiTransport(answered_by(handler), deadline=30.0).send(ApiRequest("GET", URL))
    assert trio.current_time() == 30.0
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)


async def test_an_answer_that_trickles_ends_at_the_deadline_too(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await trio.sleep(1)
            yield b" "

    with pytest.raises(OverloadedError):
        await ApiTransport(answered_by(lambda _: httpx.Response(200, content=trickle())), deadline=20.5).send(
            ApiRequest("GET", URL)
        )
    assert trio.current_time() == 20.5


async def test_an_endless_answer_is_not_read_to_its_end(answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024**2
            yield bytes(1024**2)

    with pytest.raises(BrokenError, match="longer than") as caught:
        await ApiTransport(answered_by(lambda _: httpx.Response(200, content=endless()))).send(ApiRequest("GET", URL))
    assert caught.value.advice == NO_RETRY
    assert sent <= MAX_BODY + 2 * 1024**2


async def test_an_answer_that_unpacks_to_far_more_is_not_kept(
    answered_by: Callable[[Handler], httpx.AsyncClient],
) -> None:
    bomb = gzip.compress(bytes(4 * MAX_BODY))

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(bomb), 4096):
            yield bomb[start : start + 4096]

    answer = httpx.Response(200, content=body(), headers={"Content-Encoding": "gzip"})
    with pytest.raises(BrokenError, match="longer than"):
        await ApiTransport(answered_by(lambda _: answer)).send(ApiRequest("GET", URL))


async def test_redirects_are_answers_like_any_other(answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/latest"})

    reply = await ApiTransport(answered_by(handler)).send(ApiRequest("GET", URL, token="t"))
    assert reply.status == 302
    assert asked == ["archive.test"]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectError("Name or service not known"), "cannot be reached: Name or service not known"),
        (httpx.ConnectTimeout("timed out"), "cannot be reached"),
        (httpx.ProxyError("407"), "cannot be reached"),
        (httpx.ReadError(""), "failed: ReadError"),
        (httpx.RemoteProtocolError("peer closed connection"), "failed: peer closed connection"),
        (httpx.ReadTimeout(""), "timed out"),
        (httpx.DecodingError("not gzip"), "not gzip"),
    ],
)
async def test_a_broken_connection_is_tried_again(
    answered_by: Callable[[Handler], httpx.AsyncClient], failure: Any, words: str
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(BrokenError, match=words) as caught:
        await ApiTransport(answered_by(handler)).send(ApiRequest("GET", URL))
    assert caught.value.advice.again
    assert "secret" not in str(caught.value)


NO_ADDRESSES = ["ftp://archive.test/x", "archive.test/x", "", "http://", "http://..invalid/x"]


@pytest.mark.parametrize("url", NO_ADDRESSES)
async def test_an_address_that_is_none_is_not_tried_again(url: str) -> None:
    async with aclosing(HttpClient(HttpOptions())) as client:
        with pytest.raises(BrokenError, match="usable address") as caught:
            await ApiTransport(client.api).send(ApiRequest("GET", url))
    assert caught.value.advice == NO_RETRY


@pytest.mark.parametrize("url", ["http://127.0.0.1:x/x", "http://a b.invalid/x", "http://[bad/x"])
async def test_an_odd_address_meets_no_foreign_error(url: str) -> None:
    async with aclosing(HttpClient(HttpOptions())) as client:
        with pytest.raises(BrokenError):
            await ApiTransport(client.api).send(ApiRequest("GET", url))


@pytest.mark.parametrize("port", [0, 65_536, 99_999, 4_295_000_000])
async def test_a_port_that_is_none_is_not_taken_for_another(port: int, nursery: trio.Nursery) -> None:
    """Resolvers take some of them modulo 65,536."""
    server = await nursery.start(ScriptedServer(answering(response("200 OK", b"{}"))).run)
    its_own = httpx.URL(server.url).port or 0
    async with aclosing(HttpClient(HttpOptions())) as client:
        for number in (port, its_own + 65_536):
            with pytest.raises(BrokenError, match="usable address") as caught:
                await ApiTransport(client.api).send(ApiRequest("GET", f"http://127.0.0.1:{number}/x"))
            assert caught.value.advice == NO_RETRY
    assert server.connections == 0


@pytest.mark.parametrize(
    ("error", "keyword", "advice"),
    [
        (
            UntrustedCertificateError("the certificate of archive.test is not trusted: it has expired."),
            "--ca-file",
            RETRY,
        ),
        (httpx.ConnectError("no route"), "your connection", RETRY),
        (httpx.ProxyError("the proxy answered 502"), "--proxy", RETRY),
        (httpx.ReadError("reset"), "your connection", RETRY_NOW),
        (httpx.UnsupportedProtocol("ftp"), "address", NO_RETRY),
    ],
)
async def test_each_failure_of_a_connection_says_what_to_check(
    error: Exception, keyword: str, advice: RetryPolicy
) -> None:
    ours = broken(error, "https://archive.test")
    assert isinstance(ours, BrokenError)
    assert keyword in ours.hint
    assert str(error).rstrip(".") in ours.message
    assert ours.advice == advice
