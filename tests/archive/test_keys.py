from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector.archive.keys import load_keys
from connector.errors import LocalError


def test_keys_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    first = load_keys(tmp_path / "keys")
    files = list((tmp_path / "keys").iterdir())
    assert {file.name for file in files} == {"hub.key", "signing.pem", "url.key", "store.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    second = load_keys(tmp_path / "keys")
    assert second.hub_private == first.hub_private
    assert second.url_secret == first.url_secret
    assert second.store_key == first.store_key
    assert second.signing.private_numbers() == first.signing.private_numbers()


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_keys(tmp_path), range(8)))
    assert len({key.hub_private for key in keys}) == 1
    assert len({key.store_key for key in keys}) == 1


def test_secrets_are_not_in_the_representation(tmp_path: Path) -> None:
    keys = load_keys(tmp_path)
    for secret in (keys.hub_private, keys.url_secret, keys.store_key):
        assert repr(secret) not in repr(keys)


@pytest.mark.parametrize("name", ["hub.key", "signing.pem", "url.key"])
def test_a_damaged_key_is_refused_not_replaced(tmp_path: Path, name: str) -> None:
    load_keys(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(LocalError, match="cannot be used"):
        load_keys(tmp_path)
    assert (tmp_path / name).read_bytes() == b"damaged"
