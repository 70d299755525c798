"""Databases of earlier versions are upgraded by one command; other commands refuse them, and later ones.

`samples/archive-39688d6.tar.gz` was made by the last commit before the archive's database had a version: boxes, uploads
and files in every state, an alias with two records, grants, one file staged.
"""

from __future__ import annotations

import json
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.faults import Fault
from connector.archive.models import Box
from connector.archive.schema import SCHEMA, VERSION, migrations
from connector.archive.upgrade import remove_doubles, take_over_keys, upgrade_archive
from connector.errors import UsageError
from persistence.documents import migrate
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.migrations import COLLECTION, SchemaState
from persistence.documents.sqlite import SqliteDaoFactory
from tests.support.archive_checker import check as look_through
from tests.support.archive_process import run_cli, served_archive
from tests.support.contract_client import ContractClient, unseal
from tests.support.memory_archive import at_rest, working

CONTENTS = ("archived.bam", "staged.vcf.gz", "received.txt", "open.txt")
"""The files that count in the first box."""
SAMPLE = Path(__file__).parent / "samples" / "archive-39688d6.tar.gz"


@attrs.frozen
class Sample:
    """A copy of the sample, and what is known of it."""

    root: Path
    notes: dict[str, Any]

    def content(self, alias: str) -> bytes:
        return (alias.encode() * 200)[:2000]


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    with tarfile.open(SAMPLE) as archived:
        archived.extractall(tmp_path, filter="data")
    return Sample(tmp_path / "archive", json.loads((tmp_path / "notes.json").read_text()))


async def faults_of(archive: Archive) -> list[Fault]:
    faults: list[Fault] = []
    await archive.check.run(lambda fault, repaired: faults.append(fault))
    return faults


def test_other_commands_refuse_it_and_one_command_upgrades_it(sample: Sample) -> None:
    before = {path: path.read_bytes() for path in (sample.root / "keys").iterdir()}
    for command in (["boxes"], ["grants"], ["check"], ["keys"], ["rotate-key", "signing"]):
        refused = run_cli("archive", *command, "--root", str(sample.root))
        assert refused.returncode == 2, refused.stderr
        assert "archive upgrade" in refused.stderr
    assert {path: path.read_bytes() for path in (sample.root / "keys").iterdir()} == before
    done = run_cli("archive", "upgrade", "--root", str(sample.root))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (sample.root / "keys").iterdir()] == ["master-1.key"]
    assert stat.S_IMODE((sample.root / "keys" / "master-1.key").stat().st_mode) == 0o600
    assert run_cli("archive", "check", "--root", str(sample.root)).returncode == 0
    again = run_cli("archive", "upgrade", "--root", str(sample.root))
    assert again.returncode == 0
    assert "up to date" in again.stderr


def test_an_upgraded_archive_goes_on_with_its_work(sample: Sample, http: httpx.Client) -> None:
    trio.run(upgrade_archive, embedded(sample.root, upload_lifetime=10**9))
    key = bytes.fromhex(sample.notes["user_private_key"])
    with served_archive(sample.root) as served:
        reader = ContractClient(served.wkvs_url, sample.notes["download_token"], key, http)
        for alias, accession in sample.notes["accessions"].items():
            assert fetch(reader, accession) == sample.content(alias)
        writer = ContractClient(served.wkvs_url, sample.notes["upload_token"], key, http)
        listed = {one["alias"]: one for one in writer.list_uploads(limit=100).json()["items"]}
        states = {alias: one["state"] for alias, one in listed.items()}
        assert states["open.txt"] == "init"
        assert states["deleted.txt"] == "cancelled"
        served.wait_for_file(listed["received.txt"]["id"])
        new = writer.upload("new.txt", writer.seal(b"new"))
        served.wait_for_file(new)
        served.administer(at_rest)
        (box,) = [one for one in served.administer(boxes) if one.id == sample.notes["box"]]
        assert (box.open_uploads, box.used_size) == (1, sum(map(len, map(sample.content, CONTENTS))) + 3)


async def boxes(archive: Archive) -> list[Box]:
    return [box async for box in archive.database.boxes.find_all()]


def fetch(user: ContractClient, accession: str) -> bytes:
    deadline = time.monotonic() + 180
    while (answer := user.drs_object(accession)).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    content = user.http.get(answer.json()["access_methods"][0]["access_url"]["url"]).content
    return unseal(user.envelope(accession), content, user.private_key)


@pytest.mark.parametrize("step", range(VERSION + 1))
def test_an_upgrade_that_was_interrupted_is_finished_by_the_next(sample: Sample, step: int) -> None:
    """Wherever it was: after each step of the schema, or before what follows the last one."""

    async def begin() -> None:
        async with SqliteDaoFactory(sample.root / "archive.sqlite") as documents:
            master_id = await take_over_keys(embedded(sample.root), documents)
            await remove_doubles(documents)
            if step:
                await migrate(documents, migrations(master_id)[: min(step, VERSION - 1)], name=SCHEMA)
        if step == VERSION:
            async with open_archive(embedded(sample.root), upgrading=True) as archive:
                await archive.check.run(lambda fault, repaired: None, repair=True)

    trio.run(begin)
    assert run_cli("archive", "boxes", "--root", str(sample.root)).returncode == 2
    trio.run(upgrade_archive, embedded(sample.root))

    async def look() -> list[Fault]:
        async with open_archive(embedded(sample.root)) as archive, working(archive):
            await at_rest(archive)
            return await faults_of(archive)

    assert trio.run(look) == []
    assert look_through(sample.root).faults == []


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "archive"

    async def make() -> None:
        async with open_archive(embedded(root)) as archive:
            states = await archive.database.factory.dao(COLLECTION, SchemaState, id_field="name")
            assert (await states.get_by_id(SCHEMA)).version == VERSION
            await states.update(SchemaState(SCHEMA, VERSION + 1))

    trio.run(make)
    for command in ("boxes", "upgrade", "check"):
        refused = run_cli("archive", command, "--root", str(root))
        assert refused.returncode == 2
        assert "later version" in refused.stderr


def test_an_archive_without_its_store_key_is_not_touched(sample: Sample) -> None:
    (sample.root / "keys" / "store.key").unlink()
    before = (sample.root / "archive.sqlite").stat().st_size
    refused = run_cli("archive", "upgrade", "--root", str(sample.root))
    assert refused.returncode == 3
    assert "store.key" in refused.stderr
    assert run_cli("archive", "boxes", "--root", str(sample.root)).returncode == 2
    assert (sample.root / "archive.sqlite").stat().st_size >= before


def test_a_configuration_without_the_hub_of_the_boxes_is_refused(sample: Sample) -> None:
    with pytest.raises(UsageError, match="storage-alias"):
        trio.run(upgrade_archive, embedded(sample.root, storage_alias="HD01"))
    trio.run(upgrade_archive, embedded(sample.root))


@pytest.mark.trio
async def test_of_records_with_one_alias_the_one_that_counts_is_kept() -> None:
    async with MemoryDaoFactory() as documents:
        uploads = await documents.dao("uploads", dict, id_field="id")

        async def enter(id_: str, alias: str, state: str, created: int, box: str = "box") -> None:
            await uploads.insert({"id": id_, "box_id": box, "alias": alias, "state": state, "created": created})

        await enter("1", "a", "failed", 1)
        await enter("2", "a", "archived", 2)
        await enter("3", "a", "cancelled", 3)
        await enter("4", "b", "failed", 1)
        await enter("5", "b", "cancelled", 2)
        await enter("6", "a", "failed", 9, box="other")
        assert await remove_doubles(documents) == 3
        assert [upload["id"] async for upload in uploads.find_all(sort=["id"])] == ["2", "5", "6"]
        assert await remove_doubles(documents) == 0
        await enter("7", "a", "inbox", 4)
        with pytest.raises(UsageError, match="'a'"):
            await remove_doubles(documents)
        assert await uploads.count() == 4, "neither of them may be lost"
