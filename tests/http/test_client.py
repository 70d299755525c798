"""The HTTP client, and which way a request takes."""

from __future__ import annotations

import httpx
import pytest
import trio

from connector.http.client import HttpClient, HttpOptions, Router, open_http
from tests.support.scripted_server import Peer, ScriptedServer, answering, response

pytestmark = pytest.mark.trio


class Heads:
    """A scene that keeps the heads of requests and answers them."""

    def __init__(self, answer: bytes) -> None:
        self.seen: list[bytes] = []
        self._answer = answer

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            self.seen.append(head)
            await peer.send(self._answer)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def get(options: HttpOptions, url: str) -> httpx.Response:
    async with open_http(options) as http:
        return await ask(http, url, sink=bytearray(2))


async def ask(http: HttpClient, url: str, **extensions: object) -> httpx.Response:
    response = await http.send(httpx.Request("GET", url, extensions=extensions))
    await response.aread()
    return response


async def test_without_a_proxy_the_bulk_transport_takes_the_body(no_proxies, nursery):
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(response(body=b"ok"))).run)
    answer = await get(HttpOptions(), server.url)
    assert answer.extensions["received"] == 2


@pytest.mark.parametrize("how", ["option", "environment"])
async def test_with_a_proxy_it_steps_aside(no_proxies, nursery, how):
    heads = Heads(response(body=b"ok"))
    proxy: ScriptedServer = await nursery.start(ScriptedServer(heads).run)
    address = f"http://127.0.0.1:{proxy.port}"
    options = HttpOptions(proxy=address) if how == "option" else HttpOptions(proxies={"http": address})
    answer = await get(options, "http://storage.invalid/object")
    assert answer.content == b"ok"
    assert "received" not in answer.extensions
    assert heads.seen[0].startswith(b"GET http://storage.invalid/object HTTP/1.1\r\n")


async def test_hosts_that_are_excepted_are_reached_straight(no_proxies, nursery):
    server: ScriptedServer = await nursery.start(ScriptedServer(answering(response(body=b"ok"))).run)
    options = HttpOptions(proxies={"http": "http://127.0.0.1:9", "no": "127.0.0.1"})
    assert (await get(options, server.url)).extensions["received"] == 2


async def test_api_calls_take_the_proxy_too(no_proxies, nursery):
    heads = Heads(response(body=b"{}"))
    proxy: ScriptedServer = await nursery.start(ScriptedServer(heads).run)
    async with open_http(HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}")) as http:
        await ask(http, "http://archive.invalid/values")
    assert heads.seen[0].startswith(b"GET http://archive.invalid/values HTTP/1.1\r\n")


async def test_it_says_who_it_is_and_ends_with_the_block(no_proxies, nursery):
    heads = Heads(response(body=b"ok"))
    server: ScriptedServer = await nursery.start(ScriptedServer(heads).run)
    async with open_http(HttpOptions()) as http:
        await ask(http, server.url)
        await ask(http, server.url)
        assert server.open == 1
    with trio.fail_after(2):
        while server.open:
            await trio.sleep(0.01)
    assert all(b"user-agent: crypt4gh-connector" in head.lower() for head in heads.seen)


async def test_one_way_per_proxy_is_kept_open(no_proxies, nursery):
    heads = Heads(response(body=b"ok"))
    proxy: ScriptedServer = await nursery.start(ScriptedServer(heads).run)
    options = HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}")
    async with HttpClient(Router(options)) as http:
        for _ in range(3):
            await ask(http, "http://storage.invalid/object")
    assert len(heads.seen) == 3
    assert proxy.connections == 1


async def test_a_proxys_password_is_not_shown():
    assert "secret" not in repr(HttpOptions(proxy="http://u:secret@p", proxies={"http": "http://u:secret@p"}))


async def test_no_cookies_are_taken(no_proxies, nursery):
    heads = Heads(response("200 OK", b"ok", ("Set-Cookie", "who=you")))
    server: ScriptedServer = await nursery.start(ScriptedServer(heads).run)
    async with open_http(HttpOptions()) as http:
        for _ in range(2):
            answer = await ask(http, server.url)
            assert answer.headers["set-cookie"] == "who=you"
    assert len(heads.seen) == 2
    assert b"cookie" not in heads.seen[1].lower()
