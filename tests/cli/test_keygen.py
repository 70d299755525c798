from __future__ import annotations

import base64
import stat
from pathlib import Path

import crypt4gh.keys
import pytest

from tests.support.desk import Desk, ScriptedInput


def test_an_open_key_pair_that_the_crypt4gh_package_reads(tmp_path: Path) -> None:
    sk, pk = tmp_path / "my.sec", tmp_path / "my.pub"
    desk = Desk()
    assert desk.run("keygen", "--sk", sk, "--pk", pk, "--nocrypt", "--json") == 0
    assert len(crypt4gh.keys.get_private_key(str(sk), lambda: None)) == 32
    public = crypt4gh.keys.get_public_key(str(pk))
    assert desk.records == [{"sk": str(sk), "pk": str(pk), "public_key": base64.b64encode(public).decode()}]
    assert stat.S_IMODE(sk.stat().st_mode) == 0o600


def test_a_protected_one(tmp_path: Path) -> None:
    sk, pk = tmp_path / "my.sec", tmp_path / "my.pub"
    desk = Desk(stdin=ScriptedInput("terminal"), answers=["open sesame", "open sesame"])
    assert desk.run("keygen", "--sk", sk, "--pk", pk) == 0
    assert len(crypt4gh.keys.get_private_key(str(sk), lambda: "open sesame")) == 32
    assert "sesame" not in desk.said + desk.out.getvalue()


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    sk, pk = tmp_path / "my.sec", tmp_path / "my.pub"
    pk.write_text("precious")
    desk = Desk()
    assert desk.run("keygen", "--sk", sk, "--pk", pk, "--nocrypt") == 3
    assert pk.read_text() == "precious"
    assert not sk.exists()
    assert str(pk) in desk.said


def test_without_a_passphrase_nothing_is_made(tmp_path: Path) -> None:
    desk = Desk()
    assert desk.run("keygen", "--sk", tmp_path / "s", "--pk", tmp_path / "p") == 2
    assert "--nocrypt" in desk.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["no/such/folder", "file/below"])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    desk = Desk()
    assert desk.run("keygen", "--sk", tmp_path / place, "--pk", tmp_path / "p", "--nocrypt") == 3
    assert desk.said.startswith("Error: ")
