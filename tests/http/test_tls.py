"""TLS: which certificates are trusted, and that bodies come through it whole."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from connector.errors import ConnectorError, LocalError, UsageError
from connector.http import HttpClient, HttpOptions
from connector.http.tls import make_ssl_context
from tests.http.conftest import Serve
from tests.support.http_calls import get, get_into, put
from tests.support.scripted_server import Peer, answering, chunked, response

pytestmark = pytest.mark.trio

BODY = random.Random(4).randbytes(3_000_000)
OK = response("200 OK", b"hello")


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
async def client(ca_file: Path) -> AsyncIterator[HttpClient]:
    async with aclosing(HttpClient(HttpOptions(ca_file=ca_file, connect_timeout=60, read_timeout=60))) as client:
        yield client


@pytest.mark.parametrize("step", [0, 20_011])
@pytest.mark.parametrize("answer", [response("200 OK", BODY), chunked(BODY, size=70_000)], ids=["length", "chunked"])
async def test_bodies_in(
    serve: Serve, client: HttpClient, server_tls: ssl.SSLContext, answer: bytes, step: int
) -> None:
    server = await serve(answering(answer, times=2, step=step), ssl_context=server_tls)
    for _ in range(2):
        buffer = bytearray(len(BODY))
        assert await get_into(client, server.url, buffer) == len(BODY)
        assert buffer == BODY
    assert server.connections == 1, "session tickets must not look like bytes that nobody asked for"


async def test_bodies_out(serve: Serve, client: HttpClient, server_tls: ssl.SSLContext) -> None:
    bodies = []

    async def scene(peer: Peer) -> None:
        while await peer.head():
            bodies.append(await peer.body(len(BODY)))
            await peer.send(OK)

    server = await serve(scene, ssl_context=server_tls)
    for _ in range(2):
        assert (await put(client, server.url, BODY)).status == 200
    assert bodies == [BODY, BODY]
    assert server.connections == 1


async def test_early_refusal(serve: Serve, client: HttpClient, server_tls: ssl.SSLContext) -> None:
    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(response("403 Forbidden", b"expired"))
        await trio.sleep(0.1)

    server = await serve(scene, ssl_context=server_tls)
    reply = await put(client, server.url, bytes(50_000_000))
    assert (reply.status, reply.body) == (403, b"expired")


async def test_tls_1_2(serve: Serve, client: HttpClient, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = await serve(answering(response("200 OK", BODY)), ssl_context=context)
    buffer = bytearray(len(BODY))
    await get_into(client, server.url, buffer)
    assert buffer == BODY


async def test_a_cut_without_close_notify_is_not_the_end_of_a_body(
    serve: Serve, client: HttpClient, server_tls: ssl.SSLContext
) -> None:
    async def scene(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")

    server = await serve(scene, ssl_context=server_tls)
    with pytest.raises(httpx.ReadError):
        await get(client, server.url)


class TestTrust:
    async def test_a_wrong_host_name_is_refused(self, serve: Serve, client: HttpClient, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("other.example.org").configure_cert(context)
        server = await serve(answering(OK), ssl_context=context)
        with pytest.raises(httpx.ConnectError, match=r"not trusted: .*127\.0\.0\.1"):
            await get(client, server.url)

    async def test_an_unknown_authority_is_refused(self, serve: Serve, server_tls: ssl.SSLContext) -> None:
        server = await serve(answering(OK), ssl_context=server_tls)
        async with aclosing(HttpClient(HttpOptions())) as client:
            with pytest.raises(httpx.ConnectError, match="not trusted"):
                await get(client, server.url)

    async def test_a_given_authority_stands_alone(
        self, serve: Serve, server_tls: ssl.SSLContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(path))
        server = await serve(answering(OK), ssl_context=server_tls)
        async with aclosing(HttpClient(HttpOptions(ca_file=path))) as client:
            with pytest.raises(httpx.ConnectError, match="not trusted"):
                await get(client, server.url)

    async def test_an_expired_certificate_is_refused(
        self, serve: Serve, client: HttpClient, authority: trustme.CA
    ) -> None:
        import datetime

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
        server = await serve(answering(OK), ssl_context=context)
        with pytest.raises(httpx.ConnectError, match="expired"):
            await get(client, server.url)

    async def test_plain_http_behind_https(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.body(1)
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        server = await serve(scene)
        with pytest.raises(httpx.ConnectError, match="handshake"):
            await get(client, server.url.replace("http:", "https:"))

    async def test_a_server_that_closes(self, serve: Serve, client: HttpClient) -> None:
        async def scene(peer: Peer) -> None:
            await peer.body(1)

        server = await serve(scene)
        with pytest.raises(httpx.ConnectError, match="handshake"):
            await get(client, server.url.replace("http:", "https:"))


@pytest.mark.parametrize(("content", "expected"), [(None, LocalError), (b"no certificate", UsageError)])
async def test_a_ca_file_that_is_of_no_use_is_no_failure_of_the_connection(
    serve: Serve, server_tls: ssl.SSLContext, tmp_path: Path, content: bytes | None, expected: type[Exception]
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    server = await serve(answering(OK), ssl_context=server_tls)
    async with aclosing(HttpClient(HttpOptions(ca_file=path))) as client:
        with pytest.raises(ConnectorError, match=r"ca\.pem") as caught:
            await get(client, f"https://localhost:{server.port}/")
    assert type(caught.value) is expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "within SSL_CERT_DIR"])
async def test_variables_that_name_a_pipe_are_told_and_not_waited_for(
    serve: Serve, server_tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    server = await serve(answering(OK), ssl_context=server_tls)
    pipe = tmp_path / "0123abcd.0"
    os.mkfifo(pipe)
    within, _, name = variable.rpartition(" ")
    named = [str(tmp_path / "none"), str(tmp_path if within else pipe)]
    monkeypatch.setenv(name, named[1] if name == "SSL_CERT_FILE" else os.pathsep.join(named))
    async with aclosing(HttpClient(HttpOptions())) as client:
        with pytest.raises(UsageError, match=pipe.name) as caught:
            await get(client, f"https://localhost:{server.port}/")
    assert name in caught.value.hint
    pipe.unlink()
    pipe.symlink_to(os.devnull)
    assert make_ssl_context().verify_mode == ssl.CERT_REQUIRED


async def test_sessions_are_resumed(serve: Serve, client: HttpClient, server_tls: ssl.SSLContext) -> None:
    resumed = []

    async def scene(peer: Peer) -> None:
        await peer.head()
        assert isinstance(peer.stream, trio.SSLStream)
        resumed.append(peer.stream.session_reused)
        await peer.send(response("200 OK", b"hello", ("Connection", "close")))
        await peer.gone()

    server = await serve(scene, ssl_context=server_tls)
    for _ in range(3):
        assert (await get(client, server.url)).body == b"hello"
    assert resumed == [False, True, True]


async def test_where_the_system_has_no_certificates_the_ones_of_certifi_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert make_ssl_context().cert_store_stats()["x509_ca"] > 50
