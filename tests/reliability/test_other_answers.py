"""Whole commands against servers, proxies and names that are allowed, but not what is usual."""

from __future__ import annotations

import gzip
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from connector.local.key_files import write_key_pair
from tests.support.fake_archive import FakeArchive
from tests.support.served_fake import ServedFake, User, saying, serving

FUTURE = "GHGA.26.123.1.Tumor 1/2: (Pru\u0308fung)"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    keys = write_key_pair(tmp_path / "u.sec", tmp_path / "u.pub", passphrase=None)
    with serving(ServedFake(FakeArchive(keys))) as server:
        yield User(tmp_path, server)


def test_accessions_of_the_coming_form(user: User) -> None:
    user.archive.add_file(FUTURE, b"x" * 300_000, extension=".bam")
    said = user.run("ls")
    name = unicodedata.normalize("NFC", "GHGA.26.123.1.Tumor 1_2_ (Pru\u0308fung).bam.c4gh")
    assert name.removesuffix(".c4gh") in said.out
    said = user.download(unicodedata.normalize("NFC", FUTURE))
    assert (said.code, user.names) == (0, [name]), said.err
    again = user.download()
    assert again.code == 0, again.err
    assert user.archive.counts["object"] == 1, "the second run finds it"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GHGA.26.1.1.a/B", "GHGA.26.1.1.a:B"),
        ("GHGA.26.1.1.a", "GHGA.26.1.1.A"),
        ("GHGA.26.1.1.\u00fc", "GHGA.26.1.1.u\u0308"),
    ],
)
def test_names_that_collide(user: User, first: str, second: str) -> None:
    for accession in (first, second):
        user.archive.add_file(accession, b"x")
    said = user.download()
    assert said.code == 2
    assert first in said.err
    assert second in said.err
    assert user.archive.counts["order"] == 0
    assert user.names == []


@pytest.mark.parametrize("end", ["close", "reset"])
def test_ranges_that_end_with_the_connection(user: User, end: str) -> None:
    user.archive.add_file("GHGAF01", b"x" * (3 * user.PLAIN))

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        reply = user.archive._get(request)
        head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {reply.headers['content-range']}\r\n\r\n"
        await stream.send_all(head.encode() + reply.content)
        if end == "close":
            await stream.send_eof()

    user.server.play("get", scene, times=100)
    said = user.download()
    assert said.code == 0, said.err
    assert user.is_whole()
    assert len(user.archive.ranges) == 3, "none was fetched again"


def test_ranges_of_which_the_server_sends_the_first_bytes(user: User) -> None:
    user.archive.add_file("GHGAF01", b"x" * (2 * user.PLAIN))

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        reply = user.archive._get(request)
        start, content = user.archive.ranges[-1][0], reply.content[:40_000]
        field = f"bytes {start}-{start + len(content) - 1}/*"
        await saying(206, content, Content_Range=field)(stream, request)

    user.server.play("get", scene, times=100)
    said = user.download(CONNECTOR_RETRIES="1")
    assert said.code == 0, said.err
    assert user.is_whole()


@pytest.mark.parametrize(
    ("coding", "code"),
    [("aws-chunked", 0), ("aws-chunked,", 0), ("identity", 0), ("gzip", 5), ("aws-chunked, gzip", 5)],
)
def test_codings_that_were_not_asked_for(user: User, coding: str, code: int) -> None:
    user.archive.add_file("GHGAF01", b"x" * user.PLAIN)

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        reply = user.archive._get(request)
        content = gzip.compress(reply.content) if "gzip" in coding else reply.content
        fields = {"Content_Range": reply.headers["content-range"], "Content_Encoding": coding}
        await saying(206, content, **fields)(stream, request)

    user.server.play("get", scene, times=100)
    said = user.download(CONNECTOR_RETRIES="1")
    assert said.code == code, said.err
    assert user.names == (["GHGAF01.bin.c4gh"] if code == 0 else [])
    assert code == 0 or "gzip" in said.err


@pytest.mark.parametrize("kind", ["get", "put"])
def test_redirects_to_another_endpoint(user: User, kind: str) -> None:
    """S3 answers so while the name of a new bucket is spread."""
    user.archive.add_file("GHGAF01", b"x" * (3 * user.PLAIN))
    path = user.folder / "large.bin"
    path.write_bytes(b"y" * 11_000_000)
    seen: list[str] = []

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        target = request.url.raw_path.decode()
        if "moved=1" in target:
            reply = user.archive._get(request) if kind == "get" else user.archive._put(request)
            fields = {
                name.replace("-", "_"): value for name, value in reply.headers.items() if name != "content-length"
            }
            await saying(reply.status_code, reply.content, **fields)(stream, request)
            seen.append(target)
        else:
            await saying(307, Location=f"{user.server.url}/storage{target}&moved=1")(stream, request)

    user.server.play(kind, scene, times=100)
    said = user.download() if kind == "get" else user.upload(path, CONNECTOR_PART_SIZE="5MiB")
    assert said.code == 0, said.err
    assert len(seen) == 3


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]"])
def test_redirects_to_an_address_that_must_not_be_connected_to(user: User, host: str) -> None:
    user.archive.add_file("GHGAF01", b"x" * user.PLAIN)

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        await saying(307, Location=f"http://{host}/storage{request.url.raw_path.decode()}")(stream, request)

    user.server.play("get", scene, times=100)
    said = user.download(CONNECTOR_RETRIES="1")
    assert said.code in (4, 5), said.err
    assert host.strip("[]") in said.err
    assert user.names == []


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks", "ftp", "hTTq"])
def test_proxies_of_unknown_kinds(user: User, monkeypatch: pytest.MonkeyPatch, variable: str, kind: str) -> None:
    monkeypatch.setenv(variable, f"{kind}://user:secret@127.0.0.1:1")
    said = user.download()
    assert said.code == 2
    assert variable.upper() in said.err
    assert "secret" not in said.err
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    user.archive.add_file("GHGAF01", b"x")
    assert user.download().code == 0


def test_a_proxy_that_cannot_be_resolved(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://no-such-proxy.invalid:3128")
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code == 5
    assert "no-such-proxy.invalid:3128 (HTTP_PROXY)" in said.err


def test_a_proxy_that_asks_for_a_password(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.server.play("values", saying(407, Proxy_Authenticate="Basic"), times=100)
    monkeypatch.setenv("http_proxy", f"http://{user.server.url.removeprefix('http://')}")
    said = user.download(CONNECTOR_WKVS_URL="http://archive.test/wkvs")
    assert said.code == 2, said.err
    assert "407" in said.err
    assert "HTTP_PROXY" in said.err


@pytest.mark.parametrize("what", ["missing", "folder", "key", "pipe"])
def test_ca_files_that_are_none(user: User, what: str) -> None:
    path = {"missing": user.folder / "none.pem", "folder": user.folder, "key": user.folder / "u.pub"}.get(what)
    if path is None:
        path = user.folder / "pipe.pem"
        os.mkfifo(path)
    said = user.download(CONNECTOR_WKVS_URL="https://127.0.0.1:9/wkvs", CONNECTOR_CA_FILE=str(path))
    assert said.code in (2, 3), said.err
    assert path.name in said.err
