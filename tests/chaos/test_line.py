"""What lines and servers do: cut, reset, fall silent, refuse for a while. The transfer ends right, or says why not."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from persistence.testing.servers.processes import free_port
from tests.support.served_fake import Scene, User, resetting, response, saying, silent

KINDS = ("values", "package", "order", "object", "envelope", "get")
SEND_KINDS = ("create", "part-url", "put", "complete")


def http_date(seconds: float, now: datetime | None = None) -> str:
    return format_datetime((now or datetime.now(UTC)) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scene", [resetting, saying(503), saying(502, b"<html>bad gateway</html>")])
def test_a_download_gets_over_one_failure_of_any_call(user: User, data: bytes, kind: str, scene: Scene) -> None:
    user.server.play(kind, scene)
    said = user.download()
    assert said.code == 0, said.err
    assert user.is_whole()
    assert user.names == ["GHGAF01.bin.c4gh"]


@pytest.mark.parametrize("kind", SEND_KINDS)
@pytest.mark.parametrize("scene", [resetting, saying(503)])
def test_an_upload_gets_over_one_failure_of_any_call(user: User, tmp_path: Path, kind: str, scene: Scene) -> None:
    path = tmp_path / "sample.bin"
    path.write_bytes(b"abc" * user.PLAIN)
    user.server.play(kind, scene)
    said = user.upload(path)
    assert said.code == 0, said.err
    assert user.archive.opened("sample.bin") == path.read_bytes()


@pytest.mark.parametrize("kind", ["create", "complete", "put"])
def test_an_answer_that_was_lost_is_no_conflict(user: User, tmp_path: Path, kind: str) -> None:
    """The archive did what was asked, and nobody heard that it had."""
    path = tmp_path / "sample.bin"
    path.write_bytes(b"abc" * user.PLAIN)
    user.archive.cut(kind, after=True)
    said = user.upload(path)
    assert said.code == 0, said.err
    assert user.archive.opened("sample.bin") == path.read_bytes()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("fields", "shortest"),
    [
        ({}, 0.0),
        ({"Retry_After": "1"}, 1.0),
        ({"Retry_After": http_date(2), "Date": http_date(0)}, 1.0),
        # Hours off, as the server's clock may be: only its own two dates say anything.
        ({"Retry_After": http_date(2 + 5 * 3600), "Date": http_date(5 * 3600)}, 1.0),
    ],
    ids=["silent", "seconds", "date", "date of another clock"],
)
def test_a_busy_archive_is_waited_for_as_long_as_it_says(
    user: User, data: bytes, status: int, fields: dict[str, Any], shortest: float
) -> None:
    user.server.play("object", saying(status, **fields))
    began = time.monotonic()
    said = user.download()
    assert said.code == 0, said.err
    assert shortest <= time.monotonic() - began < 20
    assert f"answered {status}" in said.err
    assert "Trying again in" in said.err


def test_a_storage_that_is_busy_for_good(user: User, data: bytes) -> None:
    user.server.play("get", saying(503, Retry_After="0"), times=1000)
    said = user.download()
    assert said.code == 5
    assert "answered 503" in said.err
    assert "Traceback" not in said.err


def test_a_wait_of_a_day_is_a_no(user: User, data: bytes) -> None:
    user.server.play("object", saying(503, Retry_After="86400"))
    said = user.download()
    assert said.code == 5
    assert "busy or down" in said.err


@pytest.mark.parametrize("kind", ["package", "object", "get"])
def test_a_silence_ends(user: User, data: bytes, kind: str) -> None:
    user.server.play(kind, silent)
    said = user.download(CONNECTOR_READ_TIMEOUT="0.5")
    assert said.code == 0, said.err
    assert user.is_whole()


def test_a_silence_in_the_middle_of_a_part(user: User, data: bytes) -> None:
    async def half(stream: trio.SocketStream, request: object) -> None:
        await stream.send_all(
            response(206, b"x" * 1000, length=user.PART, Content_Range=f"bytes 0-{user.PART - 1}/{10 * user.PART}")
        )
        await silent(stream, request)  # type: ignore[arg-type]

    user.server.play("get", half)
    said = user.download(CONNECTOR_READ_TIMEOUT="0.5")
    assert said.code == 0, said.err
    assert user.is_whole(), "the thousand bytes were wrong, so the part was fetched again as a whole"


def test_nobody_listens(user: User, data: bytes) -> None:
    port = free_port()
    said = user.download(CONNECTOR_WKVS_URL=f"http://127.0.0.1:{port}/wkvs", CONNECTOR_RETRIES="1")
    assert said.code == 5
    assert f"127.0.0.1:{port} cannot be reached" in said.err


def test_a_ca_file_that_is_of_no_use(user: User, data: bytes, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    url = user.server.url.replace("http:", "https:")
    for content, code in [(None, 3), ("no certificate", 2)]:
        if content is not None:
            ca.write_text(content)
        said = user.download(CONNECTOR_WKVS_URL=f"{url}/wkvs", CONNECTOR_CA_FILE=str(ca))
        assert said.code == code
        assert str(ca) in said.err
        assert "Trying again" not in said.err


def test_a_line_that_is_cut_all_the_time_and_brings_a_little_each_time(user: User, data: bytes) -> None:
    """More cuts than a part has tries: what counts is that each brings something."""
    content = user.archive.files["GHGAF01"].content

    async def a_bit(stream: trio.SocketStream, request: httpx.Request) -> None:
        start, stop = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        stop = min(stop, len(content) - 1)
        field = f"bytes {start}-{stop}/{len(content)}"
        piece = content[start : min(start + 15_000, stop + 1)]
        await stream.send_all(response(206, piece, length=stop + 1 - start, Content_Range=field))
        await stream.send_eof()

    user.server.play("get", a_bit, times=1000)
    said = user.download(CONNECTOR_RETRIES="1")
    assert said.code == 0, said.err
    assert user.is_whole()


@pytest.mark.trio
async def test_names_that_do_not_resolve_for_a_while(user: User, data: bytes) -> None:
    """The resolver of this machine says no three times, then finds the archive after all."""
    from connector.clients.work_packages import AccessToken
    from connector.config import Settings
    from connector.session import open_session

    asked: list[object] = []

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(
            self, host: Any, port: Any, family: Any = 0, type: Any = 0, proto: Any = 0, flags: Any = 0
        ) -> Any:
            asked.append(host)
            if len(asked) <= 3:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

        async def getnameinfo(self, sockaddr: Any, flags: Any) -> tuple[str, str]:
            raise NotImplementedError

    before = trio.socket.set_custom_hostname_resolver(Resolver())
    try:
        settings = Settings(wkvs_url=f"http://archive.localhost:{user.server.port}/wkvs", part_size=user.PART)
        user.out.mkdir()
        token = AccessToken.parse(user.archive.access_token)
        async with open_session(settings, user.archive.user, token, state_folder=user.folder) as session:
            (outcome,) = await session.download(output_dir=user.out)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert outcome.ok, outcome.error
    assert user.is_whole()
    assert len(asked) > 3
