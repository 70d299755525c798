"""Secrets stay secret: not in argv, not in what is printed with --debug, not in tracebacks, not in the journals."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest

from connector.clients.api_client import WorkOrderToken
from connector.clients.work_packages import AccessToken
from connector.crypt4gh.keys import KeyPair
from connector.local.journal import load
from connector.session import Components
from connector.upload.states import fold
from tests.support.chaos_stage import MIB, Stage
from tests.support.served_fake import Scene, User, resetting, saying, silent

BEARER = "abcdefghijklmnopqrstuvwx"


def secrets_of(user: User) -> list[str]:
    private = user.archive.user.private
    token = user.archive.access_token
    key = "".join((user.folder / "u.sec").read_text().splitlines()[1:-1])
    return [BEARER, token, token.partition(":")[2], private.hex(), repr(private)[2:-1], key]


def check(user: User, text: str) -> None:
    for secret in secrets_of(user):
        assert secret not in text
    assert not re.search(r"eyJ[\w-]{10,}\.[\w-]+\.[\w-]+", text), "a work order token"
    assert not re.search(r"(?i)signature=(?!\[hidden\])\w", text)


@pytest.mark.parametrize("scene", [resetting, saying(500, b"{}"), saying(403, b"denied"), silent])
@pytest.mark.parametrize("kind", ["package", "order", "object", "envelope", "get"])
def test_debug_output_may_be_pasted_into_a_ticket(user: User, data: bytes, kind: str, scene: Scene) -> None:
    user.server.play(kind, scene, times=100)
    said = user.download("--debug", "--json", CONNECTOR_RETRIES="1", CONNECTOR_READ_TIMEOUT="0.3")
    assert said.code in (4, 5)
    assert "debug connector.http.client: " in said.err
    check(user, said.out + said.err)


def test_the_debug_output_of_what_goes_well(user: User, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sample.bin"
    path.write_bytes(os.urandom(11 * MIB))
    for said in (user.download("--debug"), user.upload("--debug", path)):
        assert said.code == 0, said.err
        assert f"PUT {user.server.url}/storage/inbox/" in said.err or f"GET {user.server.url}/storage" in said.err
        assert "was answered with 20" in said.err
        check(user, said.out + said.err)


def test_the_traceback_of_a_bug_shows_no_secret(user: User, data: bytes) -> None:
    """Even when an exception carries one in its text, as those of a library may."""

    class Broken:
        async def package(self) -> None:
            raise RuntimeError(f"Bearer {BEARER} for {self!r}")

    broken: Any = Broken()
    user.components = Components(packages=broken)
    said = user.download("--debug")
    assert said.code == 1
    assert "RuntimeError" in said.err
    check(user, said.out + said.err)


def test_nothing_on_the_command_line_takes_a_secret(user: User, data: bytes) -> None:
    for option in ("--token", "--access-token", "--passphrase", "--password"):
        assert user.download(option, "x").code == 2


def test_no_process_shows_a_secret_in_its_arguments(stage: Stage) -> None:
    token = stage.archive.grant_upload(stage.keys.public)
    process = stage.start("upload", stage.source("argv.bin", MIB), token=token)
    seen = b""
    while process.poll() is None:
        try:
            seen += Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            break
    process.communicate(timeout=180)
    assert b"upload" in seen
    assert token.encode() not in seen


def test_journals_give_nothing_away(user: User, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sample.bin"
    path.write_bytes(os.urandom(11 * MIB))
    user.server.play("put", saying(400), times=100)
    user.archive.fail("get", 404, times=100, when=lambda request: "bytes=0-" not in request.headers["range"])
    assert user.upload(path).code == 4
    assert user.download().code == 4
    (sent,), (fetched,) = (tmp_path / "state").rglob("*.upload"), user.out.glob("*.journal")
    journal = load(sent)
    assert journal is not None
    state = fold(journal, user.archive.user.private)
    assert state is not None
    assert state.started is not None
    secrets = state.started.session_key, state.started.nonce_seed  # only the user can read them
    for text in (sent.read_text(), fetched.read_text()):
        check(user, text)
        for secret in secrets:
            assert secret.hex() not in text
            assert base64.b64encode(secret).decode() not in text


def test_a_repr_gives_nothing_away() -> None:
    keys = KeyPair.of(b"p" * 32)
    assert "pppp" not in repr(keys)
    assert "70707070" not in repr(keys)
    assert BEARER not in repr(WorkOrderToken(BEARER))
    assert "QUJD" not in repr(AccessToken.parse("package:QUJD"))
