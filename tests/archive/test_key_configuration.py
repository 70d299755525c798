"""Where an archive's keys come from: files, the environment, the configuration of a hub; and a host that lacks one."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import httpx
import pytest

from connector.archive.app import make_app
from connector.archive.assembly import Archive, assemble, open_archive, open_key_ring
from connector.archive.config_file import embedded_config, read_config
from connector.archive.master_keys import GivenMasterKeys
from connector.archive.sealing import MasterKey
from connector.crypt4gh.keys import open_text
from connector.errors import LocalError, UsageError
from connector.local.key_files import write_key_pair
from persistence.documents.memory import MemoryDaoFactory
from tests.support.contract_client import bearer, new_private_key, public_of
from tests.support.memory_archive import ManualClock, memory_archive
from tests.support.stored_upload import stored_upload

pytestmark = pytest.mark.trio

CONFIG = """
[documents]
provider = "sqlite"
path = "archive.sqlite"

[[hubs]]
alias = "HD01"
private_key = "hub.sec"
storage = { provider = "filesystem", path = "objects" }
"""


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


async def test_one_key_is_not_that_of_two_hubs(tmp_path: Path) -> None:
    second = CONFIG[CONFIG.index("[[hubs]]") :].replace("HD01", "TU02").replace("objects", "others")
    (tmp_path / "archive.toml").write_text(CONFIG + second)
    write_key_pair(tmp_path / "hub.sec", tmp_path / "hub.pub", passphrase=None)
    with pytest.raises(UsageError, match=r"TU02.*HD01"):
        async with open_archive(read_config(tmp_path / "archive.toml", environment={})):
            pass


async def test_a_hub_key_and_master_keys_from_files(tmp_path: Path) -> None:
    (tmp_path / "archive.toml").write_text(CONFIG)
    pair = write_key_pair(tmp_path / "hub.sec", tmp_path / "hub.pub", passphrase=None)
    config = read_config(tmp_path / "archive.toml", environment={})
    async with open_archive(config) as archive:
        assert archive.hubs.get("HD01").public_key == pair.public
        await archive.key_rotation.rotate("hub", "HD01")
    async with open_archive(config) as archive:
        assert archive.hubs.get("HD01").private_keys[1:] == [pair.private]
        old = archive.keys.keys("hub", "HD01")[1]
        with pytest.raises(UsageError, match="configuration"):
            await archive.key_rotation.remove(old.id, force=True)
    (tmp_path / "archive.toml").write_text(CONFIG.replace('private_key = "hub.sec"\n', ""))
    async with open_archive(read_config(tmp_path / "archive.toml", environment={})) as archive:
        await archive.key_rotation.remove(old.id, force=True)
        assert old.id not in {key.id for key in archive.keys.all()}
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["master-1.key"]
    (tmp_path / "keys" / "master-1.key").chmod(0o644)
    with pytest.raises(LocalError, match="chmod"):
        async with open_archive(config):
            pass
    (tmp_path / "keys" / "master-1.key").unlink()
    with pytest.raises(LocalError, match="master keys"):
        async with open_archive(config):
            pass
    assert list((tmp_path / "keys").iterdir()) == []


async def test_keys_from_the_environment_are_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "archive.toml").write_text(CONFIG.replace('private_key = "hub.sec"\n', ""))
    master, another, hub = os.urandom(32), os.urandom(32), os.urandom(32)
    environment = {
        "CONNECTOR_ARCHIVE_KEYS_MASTER": encoded(master),
        "CONNECTOR_ARCHIVE_HUBS_HD01_PRIVATE_KEY": encoded(hub),
    }
    config = read_config(tmp_path / "archive.toml", environment=environment)
    assert encoded(master) not in repr(config)
    async with open_archive(config) as archive:
        assert archive.keys.master.key == master
        assert archive.hubs.default.private_keys == [hub]
        with pytest.raises(UsageError, match="CONNECTOR_ARCHIVE_KEYS_MASTER"):
            await archive.key_rotation.rotate("master")
    assert not (tmp_path / "keys").exists()
    environment["CONNECTOR_ARCHIVE_KEYS_MASTER"] = f"{encoded(another)} {encoded(master)}"
    async with open_archive(read_config(tmp_path / "archive.toml", environment=environment)) as archive:
        assert archive.keys.master.key == master, "a key that is added is not used before it is made the current one"
        assert await archive.key_rotation.rotate("master") == MasterKey(another).id
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for key in (master, another, hub):
        assert key not in files
        assert encoded(key).encode() not in files


async def test_master_keys_of_the_environment_for_an_archive_in_a_directory(tmp_path: Path) -> None:
    key = os.urandom(32)
    config = embedded_config(tmp_path / "archive", environment={"CONNECTOR_ARCHIVE_KEYS_MASTER": encoded(key)})
    async with open_archive(config) as archive:
        assert archive.keys.master.key == key
    config = embedded_config(tmp_path / "archive", environment={"CONNECTOR_ARCHIVE_KEYS_MASTER": "x"})
    with pytest.raises(UsageError, match="base64"):
        async with open_archive(config):
            pass


async def test_a_host_that_lacks_the_new_master_key_asks_clients_to_wait() -> None:
    key, new = new_private_key(), MasterKey(os.urandom(32))
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        lacking = await open_key_ring(documents, archive.keys.masters)
        host = await assemble(archive.settings, lacking, archive.hubs, documents, clock=ManualClock())
        accession = await register(archive)
        grant = await archive.work_packages.grant_download({accession: ""}, public_of(key))
        archive.keys.masters = GivenMasterKeys((*archive.keys.masters.read().values(), new))
        assert await archive.key_rotation.rotate("master") == new.id
        answers = []
        for one in (archive, host):
            token = open_text(await one.work_packages.issue_download_token(grant.package, accession), key)
            app = httpx.ASGITransport(make_app(one, "http://archive.invalid"))
            async with httpx.AsyncClient(transport=app, base_url="http://archive.invalid") as client:
                answers.append(await client.get(f"/dcs/objects/{accession}/envelopes", headers=bearer(token)))
        assert [answer.status_code for answer in answers] == [200, 503]
        assert answers[1].headers["retry-after"]
        assert new.id not in answers[1].text


async def register(archive: Archive) -> str:
    """Register a file without content; returns its accession."""
    secret_id = await archive.key_store.deposit(bytes(32))
    upload = stored_upload(state="archived", secret_id=secret_id, object_id="object")
    file = archive.registry.new_file(upload, await archive.registry.next_accession())
    return (await archive.database.files.insert(file)).accession
