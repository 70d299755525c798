"""API calls through httpx, and requests by way of a proxy: all on the same connections."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme

from connector.clients.api_transport import broken
from connector.errors import UsageError
from connector.http import AddressPolicy, ForbiddenAddressError, HttpClient, HttpOptions
from tests.http.conftest import Serve
from tests.support.http_calls import get, get_into, put
from tests.support.scripted_server import Peer, ScriptedServer, answering, chunked, response
from tests.support.waiting import until

pytestmark = pytest.mark.trio


class Heads:
    """A scene that keeps the heads and bodies of requests and answers them."""

    def __init__(self, answer: bytes) -> None:
        self.seen: list[bytes] = []
        self.bodies: list[bytes] = []
        self._answer = answer

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            self.seen.append(head)
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            self.bodies.append(await peer.body(int(fields.get(b"content-length", b"0"))))
            await peer.send(self._answer)


class TestApi:
    async def test_calls_and_bodies_share_connections(self, serve: Serve, client: HttpClient) -> None:
        heads = Heads(response(body=b"ok"))
        server = await serve(heads)
        reply = await client.api.post(server.url, json={"b": 2})
        assert (reply.status_code, reply.text) == (200, "ok")
        assert (heads.bodies, server.connections) == ([b'{"b":2}'], 1)
        assert await get_into(client, server.url, bytearray(2)) == 2
        assert server.connections == 1

    async def test_the_user_agent_is_named_and_connections_end_with_the_block(self, serve: Serve) -> None:
        heads = Heads(response(body=b"ok"))
        server = await serve(heads)
        async with aclosing(HttpClient(HttpOptions())) as http:
            await http.api.get(server.url)
            await get(http, server.url)
            assert server.open == 1
        with trio.fail_after(30):
            while server.open:
                await trio.sleep(0.01)
        for head in heads.seen:
            assert head.lower().count(b"user-agent: crypt4gh-connector\r\n") == 1
            assert head.lower().count(b"host: ") == 1

    async def test_streamed_bodies_release_their_connection(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(chunked(b"a" * 200_000, size=1000), times=3))
        for _ in range(3):
            assert len((await client.api.get(server.url)).content) == 200_000
        assert (server.connections, client.pool.idle) == (1, 1)

    async def test_a_body_left_unread_closes_its_connection(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(response("200 OK", b"a" * 200_000)))
        async with client.api.stream("GET", server.url):
            assert client.pool.in_use == 1
        assert (client.pool.in_use, client.pool.idle) == (0, 0)

    async def test_an_error_is_read_at_once(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(response("403 Forbidden", b"no", length=9), then="close"))
        async with client.api.stream("GET", server.url) as reply:
            assert client.pool.in_use == 0
            assert (reply.status_code, await reply.aread()) == (403, b"no")

    async def test_head_requests(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n", times=2))
        for _ in range(2):
            assert (await client.api.head(server.url)).headers["content-length"] == "700"
        assert server.connections == 1

    async def test_no_cookies_are_taken(self, serve: Serve, client: HttpClient) -> None:
        heads = Heads(response("200 OK", b"ok", ("Set-Cookie", "who=you")))
        server = await serve(heads)
        for _ in range(2):
            assert (await client.api.get(server.url)).headers["set-cookie"] == "who=you"
        assert b"cookie" not in heads.seen[1].lower()

    async def test_redirects_are_not_followed(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(answering(response("307 Temporary Redirect", b"", ("Location", "http://127.0.0.1:1/"))))
        assert (await client.api.get(server.url)).status_code == 307
        assert server.connections == 1

    async def test_an_iterated_body_is_sent_with_its_length(self, serve: Serve, client: HttpClient) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"abc"
            yield b"defg"

        heads = Heads(response())
        server = await serve(heads)
        await client.api.put(server.url, content=pieces())
        assert heads.bodies == [b"abcdefg"]
        assert b"transfer-encoding" not in heads.seen[0].lower()

    async def test_malformed_headers_are_a_local_error(self, serve: Serve, client: HttpClient) -> None:
        server = await serve(Heads(response()))
        with pytest.raises(httpx.LocalProtocolError):
            await client.api.get(server.url, headers={"X-Bad": "a\r\nb"})

    @pytest.mark.parametrize(
        "url", ["ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1:0/x", "http://127.0.0.1:65536/"]
    )
    async def test_addresses_that_are_none(self, client: HttpClient, url: str) -> None:
        with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
            await client.api.get(url)


Proxied = Callable[..., Awaitable[tuple[ScriptedServer, list[bytes]]]]


@pytest.fixture
def tunnels(nursery: trio.Nursery) -> Proxied:
    """Start a proxy that keeps the heads of CONNECT requests and passes on what follows."""

    async def start(
        target: ScriptedServer, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n"
    ) -> tuple[ScriptedServer, list[bytes]]:
        heads: list[bytes] = []

        async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
            try:
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
                await sink.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        async def scene(peer: Peer) -> None:
            heads.append(await peer.head())
            await peer.send(answer)
            if b"200 Connected" not in answer:
                await peer.gone()
                return
            upstream = await trio.open_tcp_stream("127.0.0.1", target.port)
            async with upstream, trio.open_nursery() as both:
                both.start_soon(pump, peer.stream, upstream)
                await pump(upstream, peer.stream)
                both.cancel_scope.cancel()

        proxy: ScriptedServer = await nursery.start(ScriptedServer(scene).run)
        return proxy, heads

    return start


class TestProxy:
    @pytest.mark.parametrize("how", ["option", "environment"])
    async def test_http_is_forwarded(self, serve: Serve, how: str) -> None:
        heads = Heads(response(body=b"ok"))
        proxy = await serve(heads)
        address = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        options = HttpOptions(proxy=address) if how == "option" else HttpOptions(proxies={"http": address})
        async with aclosing(HttpClient(options)) as http:
            buffer = bytearray(2)
            assert await get_into(http, "http://storage.invalid/object?signature=s", buffer) == 2
            assert (await http.api.get("http://archive.invalid/values")).text == "ok"
            await put(http, "http://storage.invalid/part", b"x" * 100_000)
        assert buffer == b"ok"
        assert heads.seen[0].startswith(b"GET http://storage.invalid/object?signature=s HTTP/1.1\r\n")
        assert heads.seen[1].startswith(b"GET http://archive.invalid/values HTTP/1.1\r\n")
        credentials = base64.b64encode(b"user:p@ss")
        for head in heads.seen:
            assert b"Proxy-Authorization: Basic %s\r\n" % credentials in head
        assert heads.bodies[2] == b"x" * 100_000
        assert proxy.connections == 1, "one connection serves all hosts behind a proxy"

    async def test_https_goes_through_a_tunnel(
        self, serve: Serve, tunnels: Proxied, server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
    ) -> None:
        heads = Heads(response(body=b"ok"))
        server = await serve(heads, ssl_context=server_tls)
        proxy, connects = await tunnels(server)
        options = HttpOptions(proxy=f"http://u:p@127.0.0.1:{proxy.port}", ca_file=write_ca(authority, tmp_path))
        async with aclosing(HttpClient(options)) as http:
            assert await get_into(http, server.url, bytearray(2)) == 2
            assert (await http.api.get(server.url)).text == "ok"
            assert (await put(http, server.url, b"x" * 3_000_000)).status == 200
        (connect,) = connects
        assert connect.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
        assert b"Proxy-Authorization: Basic %s\r\n" % base64.b64encode(b"u:p") in connect
        assert all(b"proxy-authorization" not in head.lower() for head in heads.seen), "only the proxy may see it"
        assert heads.bodies[2] == b"x" * 3_000_000

    async def test_certificates_are_checked_through_a_tunnel(
        self, serve: Serve, tunnels: Proxied, server_tls: ssl.SSLContext
    ) -> None:
        server = await serve(Heads(response()), ssl_context=server_tls)
        proxy, _ = await tunnels(server)
        async with aclosing(HttpClient(HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}"))) as http:
            with pytest.raises(httpx.ConnectError, match="not trusted"):
                await get(http, server.url)

    @pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway"])
    async def test_a_proxy_that_refuses_is_named(self, serve: Serve, tunnels: Proxied, status: str) -> None:
        server = await serve(Heads(response()))
        proxy, _ = await tunnels(server, response(status, b"no"))
        async with aclosing(HttpClient(HttpOptions(proxy=f"http://u:secret@127.0.0.1:{proxy.port}"))) as http:
            with pytest.raises(httpx.ProxyError, match=status[:3]) as caught:
                await get(http, server.url.replace("http:", "https:"))
            assert http.pool.in_use == 0
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://no-such-proxy.invalid:3128", "http://a..b:1"])
    async def test_a_proxy_that_cannot_be_reached_is_named(self, scheme: str, proxy: str) -> None:
        async with aclosing(HttpClient(HttpOptions(proxies={"all": proxy}))) as http:
            with pytest.raises(httpx.ProxyError, match=f"{proxy[7:]} .ALL_PROXY.") as caught:
                await get(http, f"{scheme}://storage.invalid/x")
        error = broken(caught.value, "https://storage.invalid")
        assert (error.exit_code, error.advice.again) == (5, True)
        assert "--proxy" in error.hint

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize(
        ("credentials", "challenge", "said", "hint"),
        [
            ("", 'Basic realm="x"', "asks for", "NAME:PASSWORD"),
            ("u:secret@", 'Negotiate, Basic realm="x"', "refuses", "NAME:PASSWORD"),
            ("u:secret@", 'NTLM, Digest realm="x", nonce="y"', "NTLM, Digest", "operators"),
            ("", "", "asks for", "NAME:PASSWORD"),
        ],
    )
    async def test_a_proxy_that_asks_for_credentials(
        self, serve: Serve, scheme: str, credentials: str, challenge: str, said: str, hint: str
    ) -> None:
        fields = [("Proxy-Authenticate", challenge)] if challenge else []
        proxy = await serve(Heads(response("407 Proxy Authentication Required", b"no", *fields)))
        async with aclosing(
            HttpClient(HttpOptions(proxies={"all": f"http://{credentials}127.0.0.1:{proxy.port}"}))
        ) as http:
            with pytest.raises(httpx.ProxyError, match=f"407.*{said}") as caught:
                await get(http, f"{scheme}://storage.invalid/x")
            assert http.pool.in_use == 0
        error = broken(caught.value, "https://storage.invalid")
        assert (error.exit_code, error.advice.again) == (2, False)
        assert hint in error.hint
        assert "secret" not in str(error)

    async def test_a_proxy_that_does_not_answer(self, serve: Serve) -> None:
        async def scene(peer: Peer) -> None:
            await peer.gone()

        proxy = await serve(scene)
        async with aclosing(
            HttpClient(HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}", connect_timeout=0.2))
        ) as http:
            with trio.fail_after(30), pytest.raises(httpx.ConnectTimeout):
                await get(http, "https://storage.invalid/x")

    async def test_data_before_the_tunnel_is_used_is_not_taken_for_tls(self, serve: Serve, tunnels: Proxied) -> None:
        server = await serve(Heads(response()))
        proxy, _ = await tunnels(server, b"HTTP/1.1 200 OK\r\n\r\nforged")
        async with aclosing(HttpClient(HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}"))) as http:
            with pytest.raises(httpx.ProxyError, match="before"):
                await get(http, server.url.replace("http:", "https:"))

    async def test_a_proxy_that_is_spoken_to_by_tls_forwards_http(
        self, serve: Serve, server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
    ) -> None:
        heads = Heads(response(body=b"ok"))
        proxy = await serve(heads, ssl_context=server_tls)
        options = HttpOptions(proxy=f"https://127.0.0.1:{proxy.port}", ca_file=write_ca(authority, tmp_path))
        async with aclosing(HttpClient(options)) as http:
            assert (await get(http, "http://storage.invalid/x")).body == b"ok"

    @pytest.mark.parametrize(
        "proxy", ["socks5://u:secret@127.0.0.1:9", "https://127.0.0.1:9", "http://u:secret@127.0.0.1:x"]
    )
    async def test_proxies_that_are_not_supported(self, proxy: str) -> None:
        async with aclosing(HttpClient(HttpOptions(proxy=proxy))) as http:
            with pytest.raises(UsageError, match="proxy") as caught:
                await get(http, "https://storage.invalid/x")
        assert "secret" not in str(caught.value)

    async def test_hosts_that_are_excepted_are_reached_straight(self, serve: Serve) -> None:
        server = await serve(answering(response(body=b"ok")))
        options = HttpOptions(proxies={"http": "http://127.0.0.1:9", "no": "127.0.0.1"})
        async with aclosing(HttpClient(options)) as http:
            assert (await get(http, server.url)).body == b"ok"

    async def test_a_proxys_password_is_not_shown(self) -> None:
        assert "secret" not in repr(HttpOptions(proxy="http://u:secret@p", proxies={"http": "http://u:secret@p"}))

    @pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "localhost"])
    async def test_addresses_that_a_url_spells_out_are_checked_for_the_proxy(self, serve: Serve, host: str) -> None:
        proxy = await serve(Heads(response()))
        policy = AddressPolicy.of("https://archive.example/values")
        async with aclosing(
            HttpClient(HttpOptions(proxy=f"http://127.0.0.1:{proxy.port}", address_policy=policy))
        ) as http:
            with pytest.raises(ForbiddenAddressError):
                await get(http, f"http://{host}/latest/meta-data")
            assert (await get(http, "http://storage.invalid/x")).status == 200, (
                "the proxy itself may be on this machine"
            )


async def test_addresses_are_checked_before_a_byte_is_sent(serve: Serve) -> None:
    heads = []

    async def scene(peer: Peer) -> None:
        heads.append(await peer.head())

    server = await serve(scene)
    host = "storage.example"

    class Here(trio.abc.HostnameResolver):
        async def getaddrinfo(
            self, host: Any, port: Any, family: Any = 0, type: Any = 0, proto: Any = 0, flags: Any = 0
        ) -> Any:
            return [(2, 1, 6, "", ("127.0.0.1", int(port)))]

        async def getnameinfo(self, sockaddr: Any, flags: Any) -> tuple[str, str]:
            raise NotImplementedError

    before = trio.socket.set_custom_hostname_resolver(Here())
    try:
        async with aclosing(
            HttpClient(HttpOptions(address_policy=AddressPolicy.of("https://archive.example")))
        ) as http:
            with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1 is not allowed"):
                await get(http, f"http://{host}:{server.port}/x")
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    await until(lambda: heads)
    assert heads == [b""], "no byte was sent"


def write_ca(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path
