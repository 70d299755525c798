"""An archive that means harm, or talks nonsense: refused or made harmless, in bounded time and memory."""

from __future__ import annotations

import base64
import gzip
import json
import resource
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from connector.clients.work_packages import AccessToken
from connector.config import Settings
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE
from tests.support.served_fake import User, endless, response, saying

MIB = 1024**2


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    ("accession", "extension"),
    [
        ("../../escaped", ".txt"),
        ("..", ""),
        ("/etc/cron.d/x", ""),
        ("GHGAF01", "/../../../escaped"),
        ("GHGAF01", "\\..\\..\\escaped"),
        ("GHGAF01", ".txt\0.png"),
        (".bashrc", ""),
        ("-rf", ""),
        ("CON", ".txt"),
        ("GHGAF01", "." + "x" * 5000),
        ("GHGAF01", ".\x1b[2J\x1b]0;owned\x07txt"),
        ("GHGAF01", ".\u202egpj.exe"),
    ],
)
def test_names_with_tricks_stay_in_the_folder(user: User, tmp_path: Path, accession: str, extension: str) -> None:
    user.archive.add_file(accession, b"x" * 100, extension=extension)
    before = set(tmp_path.rglob("*"))
    said = user.download()
    assert said.code == 0, said.err
    assert "\x1b" not in said.err
    assert "\x07" not in said.err
    assert "\u202e" not in said.err
    (name,) = user.names
    assert name.isprintable()
    assert name[0] not in ".-"
    assert not set(name) & set('/\\:*?"<>|')
    made = set(tmp_path.rglob("*")) - before - {user.out, user.out / name}
    ours = tmp_path / "state" / "connector"
    assert all(path == ours.parent or path.is_relative_to(ours) for path in made), made


@pytest.mark.parametrize(
    "size",
    [-1, 0, 3, 10**30, CIPHER_SEGMENT_SIZE * 2**44, "many", None, 1.5, True, [1]],
)
def test_sizes_that_lie_or_are_none(user: User, data: bytes, size: int) -> None:
    user.archive.files["GHGAF01"].claims["size"] = size
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (3, 5, 6), said.err
    assert "bug in connector" not in said.err
    assert user.names == []


@pytest.mark.parametrize("kind", ["values", "package", "order", "object", "envelope"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"9" * 1_000_000,
        b"\xff\xfe\x00",
        b"null",
        b"{}",
        b'"\\ud800"',
        b"1e999",
        b"NaN",
        b'{"crypt4gh_public_keys": {"a": 5}, "wps_api_url": 7}',
        b"",
    ],
    ids=[
        "deep list",
        "deep object",
        "long number",
        "no text",
        "null",
        "empty object",
        "surrogate",
        "inf",
        "nan",
        "types",
        "nothing",
    ],
)
def test_json_that_is_meant_to_hurt(user: User, data: bytes, kind: str, body: bytes) -> None:
    user.server.play(kind, saying(201 if kind == "order" else 200, body, Content_Type="application/json"), times=100)
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (4, 5, 6), said.err
    assert "bug in connector" not in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("kind", ["values", "object", "envelope"])
@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_without_end(user: User, data: bytes, kind: str, chunked: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
    piece = b"x" * 65536
    user.server.play(kind, endless(head, b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece), times=10)
    before = peak_memory()
    said = user.download(CONNECTOR_RETRIES="0", CONNECTOR_READ_TIMEOUT="30")
    assert said.code == 5, said.err
    assert "longer than" in said.err
    assert peak_memory() - before < 200 * MIB


def test_a_head_without_end(user: User, data: bytes) -> None:
    user.server.play("object", endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 1000 + b"\r\n"), times=10)
    before = peak_memory()
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code == 5, said.err
    assert peak_memory() - before < 100 * MIB


def test_an_answer_that_unpacks_to_more_than_any_memory(user: User, data: bytes) -> None:
    bomb = gzip.compress(bytes(400 * MIB), 9)
    assert len(bomb) < MIB
    user.server.play("object", saying(200, bomb, Content_Encoding="gzip"), times=10)
    before = peak_memory()
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code == 5, said.err
    assert peak_memory() - before < 250 * MIB


@pytest.mark.parametrize("status", [200, 206])
def test_a_part_without_end(user: User, data: bytes, status: int) -> None:
    head = f"HTTP/1.1 {status} OK\r\nContent-Range: bytes 0-{user.PART - 1}/999999999\r\n"
    piece = b"x" * 65536
    user.server.play(
        "get",
        endless(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(piece), piece)),
        times=100,
    )
    before = peak_memory()
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (5, 6), said.err
    assert peak_memory() - before < 100 * MIB
    assert all(".part" in name for name in user.names)


def test_more_bytes_than_the_range(user: User, data: bytes) -> None:
    async def more(stream: trio.SocketStream, request: httpx.Request) -> None:
        field = f"bytes 0-{user.PART - 1}/{10 * user.PART}"
        await stream.send_all(response(206, b"y" * (3 * user.PART), Content_Range=field))

    user.server.play("get", more, times=100)
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (5, 6), said.err
    assert all(".part" in name for name in user.names)


@pytest.mark.parametrize("kind", ["values", "package", "order", "object", "envelope", "get"])
def test_redirects_are_not_followed(user: User, data: bytes, kind: str) -> None:
    where = f"{user.server.url}/trap"
    user.server.play(kind, saying(302, Location=where), times=100)
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (4, 5), said.err
    assert said.code == 5 or "302" in said.err
    assert user.names == [] or all(".part" in name for name in user.names)


@pytest.mark.parametrize(
    "envelope",
    [
        b"crypt4gh" + struct.pack("<II", 1, 2**32 - 1),
        b"crypt4gh" + struct.pack("<III", 1, 1, 2**32 - 1),
        b"crypt4gh" + struct.pack("<III", 1, 1, 0),
        b"crypt4gh" + struct.pack("<II", 1, 200_000) + struct.pack("<I", 4) * 200_000,
        b"crypt4gh" + struct.pack("<II", 2, 1) + bytes(108),
        b"",
        b"\0" * 124,
    ],
    ids=["packets", "long packet", "empty packet", "many packets", "version", "nothing", "zeros"],
)
def test_envelopes_with_absurd_claims(user: User, data: bytes, envelope: bytes) -> None:
    user.server.play("envelope", saying(200, json.dumps(base64.b64encode(envelope).decode()).encode()), times=10)
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code == 6, said.err
    assert user.names == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://x",
        "http://",
        "javascript:alert(1)",
        "http://[::1",
        "x" * 9000,
        "http://127.0.0.1:99999/x",
        "http://a\nb/",
        "http://ex\u0000ample/",
        "",
    ],
)
def test_presigned_urls_that_are_none(user: User, data: bytes, url: str) -> None:
    user.archive.files["GHGAF01"].claims["access_methods"] = [{"type": "s3", "access_url": {"url": url}}]
    said = user.download(CONNECTOR_RETRIES="0")
    assert said.code in (4, 5), said.err
    assert "bug in connector" not in said.err
    assert all(".part" in name for name in user.names)


@pytest.mark.parametrize("host", ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]"])
def test_no_archive_leads_to_the_metadata_service(user: User, data: bytes, host: str) -> None:
    user.archive.files["GHGAF01"].claims["access_methods"] = [
        {"type": "s3", "access_url": {"url": f"http://{host}/latest/meta-data"}}
    ]
    said = user.download()
    assert said.code == 5, said.err
    assert "not allowed" in said.err
    assert "Trying again" not in said.err


@pytest.mark.trio
async def test_an_archive_elsewhere_names_no_address_of_this_machine(user: User, data: bytes) -> None:
    """The settings name the archive by a host of its own; its presigned URLs lead to this machine."""
    import socket

    from connector.session import open_session

    class Elsewhere(trio.abc.HostnameResolver):
        async def getaddrinfo(
            self, host: Any, port: Any, family: Any = 0, type: Any = 0, proto: Any = 0, flags: Any = 0
        ) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

        async def getnameinfo(self, sockaddr: Any, flags: Any) -> tuple[str, str]:
            raise NotImplementedError

    # What the archive says about itself keeps leading to its name; only the storage leads here.
    base = f"http://archive.example:{user.server.port}"
    values = {
        "crypt4gh_public_keys": user.archive.hub_keys,
        **{f"{api}_api_url": f"{base}/{api}" for api in ("wps", "dcs", "ucs")},
    }
    user.server.play("values", saying(200, json.dumps(values).encode()))
    before = trio.socket.set_custom_hostname_resolver(Elsewhere())
    try:
        settings = Settings(wkvs_url=f"{base}/wkvs", part_size=user.PART)
        user.out.mkdir()
        token = AccessToken.parse(user.archive.access_token)
        async with open_session(settings, user.archive.user, token, state_folder=user.folder) as session:
            (outcome,) = await session.download(output_dir=user.out)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert outcome.error is not None
    assert "not allowed" in str(outcome.error)
    assert user.archive.counts["get"] == 0


def test_words_of_the_archive_do_nothing_to_the_terminal(user: User, data: bytes) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\r\nFAKE LINE\u202e\u009b31m"
    user.archive.fail("object", 403, {"exception_id": "wrongFileAuthorizationError", "description": nasty, "data": {}})
    said = user.download()
    assert said.code == 4
    for letter in ("\x1b", "\x07", "\r", "\u202e", "\u009b"):
        assert letter not in said.err
    assert "\nFAKE" not in said.err


def test_a_million_files_in_one_package_are_no_bug(user: User) -> None:
    """A package may name more files than anybody can fetch; the names alone do no harm."""
    files = {f"GHGAF{number:07}": ".bin" for number in range(20_000)}
    body = json.dumps({"type": "download", "files": files, "created": "2026-01-01T00:00:00+00:00"}).encode()
    user.server.play("package", saying(200, body))
    said = user.download("GHGAF9999999")
    assert said.code == 4
    assert "GHGAF9999999" in said.err
