from __future__ import annotations

import base64
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector.archive.key_formats import parse_key, parse_private_key, read_secret
from connector.archive.master_keys import GivenMasterKeys, MasterKeyDirectory
from connector.archive.sealing import MasterKey
from connector.errors import IntegrityError, LocalError, UsageError
from connector.local.key_files import write_key_pair


def test_a_key_file_is_readable_by_its_owner_only_and_read_again(tmp_path: Path) -> None:
    source = MasterKeyDirectory(tmp_path / "keys")
    assert source.read() == {}
    key = source.create()
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    another = source.create()
    assert source.read() == {key.id: key, another.id: another}
    source.remove(key.id)
    source.remove(key.id)
    assert source.read() == {another.id: another}


def test_no_file_is_written_over(tmp_path: Path) -> None:
    source = MasterKeyDirectory(tmp_path)
    (tmp_path / "master-2.key").write_bytes(base64.b64encode(b"k" * 32))
    (tmp_path / "master-2.key").chmod(0o600)
    key = source.create()
    assert source.read().keys() == {key.id, MasterKey(b"k" * 32).id}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["master-2.key", "master-3.key"]


def test_a_large_file_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(70_000))
    with pytest.raises(UsageError, match="secret"):
        read_secret(tmp_path / "key")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe that has no writer, a device, a folder: a process that reads keys again must not be held up."""
    os.mkfifo(tmp_path / "master-1.key", 0o600)
    with pytest.raises(LocalError, match="regular"):
        MasterKeyDirectory(tmp_path).read()
    for path, told in ((Path(os.devnull), "regular"), (tmp_path, "cannot be read")):
        with pytest.raises(LocalError, match=told):
            read_secret(path)


def test_processes_that_make_the_first_key_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: MasterKeyDirectory(tmp_path).create().id, range(8)))
    # One that starts when the first key is there already makes a second one.
    assert keys <= set(MasterKeyDirectory(tmp_path).read())


def test_old_drafts_are_removed(tmp_path: Path) -> None:
    draft = tmp_path / ".master-1.key.0123456789abcdef"
    draft.write_bytes(bytes(32))
    os.utime(draft, (time.time() - 7200,) * 2)
    (tmp_path / ".master-2.key.0123456789abcdef").write_bytes(bytes(32))
    MasterKeyDirectory(tmp_path).create()
    MasterKeyDirectory(tmp_path).remove_drafts()
    assert [file.name for file in tmp_path.iterdir() if file.name[0] != "."] == ["master-1.key"]
    assert not draft.exists()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    source = MasterKeyDirectory(tmp_path)
    source.create()
    (tmp_path / "master-1.key").chmod(0o640)
    with pytest.raises(LocalError, match="chmod"):
        source.read()
    assert read_secret(tmp_path / "master-1.key", platform="win32"), "it has no such bits there"


def test_a_damaged_key_is_refused_not_replaced(tmp_path: Path) -> None:
    source = MasterKeyDirectory(tmp_path)
    source.create()
    (tmp_path / "master-1.key").write_bytes(b"damaged")
    with pytest.raises(LocalError, match="cannot be used"):
        source.read()
    assert (tmp_path / "master-1.key").read_bytes() == b"damaged"


def test_keys_of_the_environment() -> None:
    one, two = os.urandom(32), os.urandom(32)
    source = GivenMasterKeys.parse(f"{base64.b64encode(one).decode()},\n{base64.b64encode(two).decode()} ")
    assert set(source.read()) == {MasterKey(one).id, MasterKey(two).id}
    with pytest.raises(UsageError, match="openssl"):
        source.create()
    with pytest.raises(UsageError, match="Take it out"):
        source.remove(MasterKey(one).id)
    source.remove("another")


@pytest.mark.parametrize("text", [" ", "short", base64.b64encode(bytes(31)).decode(), "***"])
def test_what_is_no_key_in_the_environment(text: str) -> None:
    with pytest.raises(UsageError, match="base64"):
        GivenMasterKeys.parse(text)


def test_what_is_sealed_belongs_to_its_owner_and_its_key() -> None:
    key, secret = MasterKey(os.urandom(32)), os.urandom(32)
    sealed = key.seal(secret, "one")
    assert key.open(sealed, "one") == secret
    assert secret not in base64.b64decode(sealed)
    for other, owner, text in (
        (key, "two", sealed),
        (MasterKey(os.urandom(32)), "one", sealed),
        (key, "one", "***"),
        (key, "one", sealed[:-8]),
    ):
        with pytest.raises(IntegrityError):
            other.open(text, owner)
    assert repr(key.key) not in repr(key)


def test_private_keys_of_hubs_in_all_their_forms(tmp_path: Path) -> None:
    pair = write_key_pair(tmp_path / "hub.sec", tmp_path / "hub.pub", passphrase=None)
    assert parse_private_key((tmp_path / "hub.sec").read_bytes()) == pair.private
    assert parse_private_key(pair.private) == pair.private
    assert parse_key(base64.b64encode(pair.private) + b"\n") == pair.private


def test_what_is_no_private_key_of_a_hub(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "hub.sec", tmp_path / "hub.pub", passphrase="secret")
    with pytest.raises(UsageError, match="passphrase"):
        parse_private_key((tmp_path / "hub.sec").read_bytes())
    for content in (b"", b"short", (tmp_path / "hub.pub").read_bytes()):
        with pytest.raises(UsageError, match="no Crypt4GH"):
            parse_private_key(content)
