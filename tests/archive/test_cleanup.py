"""Faults of every kind are planted in an embedded archive: the checker of the tests finds them, and the next start of
the server mends what killed processes leave in a directory.

What a crash cannot make, since a document is changed together with what is to be done next, is only found.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.hubs import Hub, Hubs
from connector.archive.key_ring import KeyRing
from connector.archive.leftovers import remove_leftovers, settle
from connector.errors import LocalError
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.errors import BucketNotFound
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.signing import UrlSigner
from tests.support.archive_checker import check
from tests.support.contract_client import MIB, SealedFile, new_private_key, seal
from tests.support.memory_archive import at_rest, until_state, working


async def send(archive: Archive, box_id: str, alias: str, file: SealedFile, *, close: bool = True) -> str:
    upload = await archive.uploads.create(box_id, UploadCreation(**file.announcement(alias)))
    for number, part in enumerate(file.parts, start=1):
        await archive.hubs.default.storage.put_part("inbox", upload.id, upload.upload_id, number, part)
    if close:
        claim: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in file.claim().items()}
        await archive.uploads.close(box_id, upload.id, UploadCompletion(**claim))
    return upload.id


async def furnish(root: Path) -> None:
    """An archive with a file that is archived and staged, one on its way, one deleted and one that failed."""
    async with open_archive(embedded(root)) as archive, working(archive):
        box = await archive.boxes.create(title="", storage_alias="embedded")

        def sealed(size: int) -> SealedFile:
            return seal(os.urandom(size), sender=new_private_key(), recipient=archive.hubs.default.public_key)

        archived = await send(archive, box.id, "archived", sealed(9 * MIB))
        await until_state(archive, archived, "archived")
        file = await archive.database.files.find_one({"file_id": archived})
        assert file is not None
        with trio.fail_after(180):
            while isinstance(await archive.downloads.get_object(file.accession, host="h"), int):
                await trio.sleep(0.01)
        deleted = await send(archive, box.id, "deleted", sealed(100))
        await until_state(archive, deleted, "archived")
        await archive.uploads.cancel(box.id, deleted)
        failed = await send(archive, box.id, "failed", damaged(sealed(100)))
        await until_state(archive, failed, "failed")
        await send(archive, box.id, "open", sealed(6 * MIB), close=False)
        await at_rest(archive)


def damaged(file: SealedFile) -> SealedFile:
    """The same file with damaged content."""
    return SealedFile(file.plaintext, file.content[:-1] + bytes([file.content[-1] ^ 1]), file.part_size)


async def start(root: Path) -> None:
    """What the server does at its start."""
    async with open_archive(embedded(root)) as archive:
        await settle(archive.hubs)
        await remove_leftovers(archive.hubs)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("furnished") / "archive"
    trio.run(furnish, root)
    return root


@attrs.frozen
class Planter:
    """A copy of the furnished archive, to do it harm."""

    root: Path

    def bucket(self, name: str) -> Path:
        return self.root / "objects" / "buckets" / name

    def upload_folder(self, bucket: str = "inbox") -> Path:
        (folder,) = (self.bucket(bucket) / "uploads").iterdir()
        return folder

    def sql(self, statement: str, *values: object) -> list[Any]:
        database = sqlite3.connect(self.root / "archive.sqlite")
        with database:
            rows = database.execute(statement, values).fetchall()
        database.close()
        return rows

    def upload(self, alias: str) -> dict[str, Any]:
        ((text,),) = self.sql("SELECT doc FROM uploads WHERE json_extract(doc, '$.alias') = ?", alias)
        document: dict[str, Any] = json.loads(text)
        return document

    def set_upload(self, which: str, **changes: object) -> None:
        document = self.upload(which) | changes
        self.sql("UPDATE uploads SET doc = ? WHERE id = ?", json.dumps(document), document["id"])

    def copy_upload(self, bucket: str) -> None:
        """Another open upload of the same object, with content of its own."""
        folder = self.bucket(bucket) / "uploads" / ("0" * 32)
        shutil.copytree(self.upload_folder(), folder)
        for path in folder.glob("[0-9]*.json"):
            part = json.loads(path.read_text())
            copy = self.bucket(bucket) / "data" / "00" / f"00{part['number']:030}"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(self.bucket("inbox") / "data" / part["file"], copy)
            path.write_text(json.dumps(part | {"file": f"00/{copy.name}"}))

    def copy_record(self, bucket: str, object_id: str) -> None:
        """Another object in the bucket, with content of its own."""
        record = json.loads(next(self.bucket("permanent").glob("objects/*.json")).read_text())
        content = []
        for number, (name, size) in enumerate(record["content"]):
            copy = self.bucket(bucket) / "data" / "00" / f"00{number:030}"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(self.bucket("permanent") / "data" / name, copy)
            content.append([f"00/{copy.name}", size])
        record |= {"id": object_id, "content": content}
        (self.bucket(bucket) / "objects" / f"{object_id}.json").write_text(json.dumps(record))


def half_done(step: str) -> Callable[[Planter], None]:
    def plant(archive: Planter) -> None:
        bucket = "permanent" if step == "aborting" else "inbox"
        if step == "aborting":
            archive.copy_upload(bucket)
        folder = archive.upload_folder(bucket)
        os.rename(folder, f"{folder}.{step}")

    return plant


def unborn_upload(archive: Planter) -> None:
    (archive.bucket("inbox") / "uploads" / f"{'0' * 32}.new").mkdir()


def draft_of_a_part(archive: Planter) -> None:
    (archive.upload_folder() / ".0123.new").write_text("{")


def draft_of_a_record(archive: Planter) -> None:
    (archive.bucket("permanent") / "objects" / ".0123.new").write_text("{")


def cut_put(archive: Planter) -> None:
    folder = archive.bucket("inbox") / "data" / "ab"
    folder.mkdir(exist_ok=True)
    (folder / ("ab" + "0" * 30)).write_bytes(bytes(1000))


def rest_of_a_deletion(archive: Planter) -> None:
    folder = archive.root / "objects" / "trash" / "0123"
    folder.mkdir()
    (folder / "00001.json").write_text("{}")


def draft_of_a_key(archive: Planter) -> None:
    draft = archive.root / "keys" / ".master-1.key.0123456789abcdef"
    draft.write_bytes(bytes(32))
    os.utime(draft, (time.time() - 7200,) * 2)


def upload_without_document(archive: Planter) -> None:
    upload_id = archive.upload("open")["id"]
    archive.sql("DELETE FROM uploads WHERE id = ?", upload_id)
    archive.sql("DELETE FROM jobs WHERE id = ?", upload_id)


def upload_of_a_cancelled_one(archive: Planter) -> None:
    archive.set_upload("open", state="cancelled")


def upload_of_another_try(archive: Planter) -> None:
    archive.copy_upload("inbox")


def lost_upload(archive: Planter) -> None:
    shutil.rmtree(archive.upload_folder())


def object_of(alias: str, bucket: str) -> Callable[[Planter], None]:
    return lambda archive: archive.copy_record(bucket, archive.upload(alias)["id"])


def object_of_nothing(bucket: str) -> Callable[[Planter], None]:
    return lambda archive: archive.copy_record(bucket, "00000000-0000-4000-8000-000000000000")


def half_interrogation(archive: Planter) -> None:
    archive.copy_upload("permanent")


def secret_of_nothing(archive: Planter) -> None:
    archive.sql("""INSERT INTO secrets VALUES ('s', '{"id":"s","key_id":"k","sealed":"x"}')""")


def half_deletion(archive: Planter) -> None:
    archive.set_upload("archived", state="cancelled")


def missing_content(archive: Planter) -> None:
    next(path for path in archive.bucket("permanent").glob("data/*/*") if path.is_file()).unlink()


def content_cut_short(archive: Planter) -> None:
    os.truncate(next(archive.bucket("permanent").glob("data/*/*")), 1000)


def missing_object(archive: Planter) -> None:
    archive.sql("DELETE FROM secrets")
    next(archive.bucket("permanent").glob("objects/*.json")).unlink()


def missing_secret(archive: Planter) -> None:
    archive.sql("DELETE FROM secrets")


def missing_entry(archive: Planter) -> None:
    archive.sql("DELETE FROM files")


def entry_without_upload(archive: Planter) -> None:
    archive.sql("DELETE FROM uploads WHERE id = ?", archive.upload("archived")["id"])


def received_and_gone(archive: Planter) -> None:
    archive.set_upload("open", state="inbox")


def miscounted_box(archive: Planter) -> None:
    archive.sql("UPDATE boxes SET doc = json_set(doc, '$.used_size', 1)")


def lost_job(archive: Planter) -> None:
    archive.sql("DELETE FROM jobs")


MENDED: dict[Callable[[Planter], None], str] = {
    half_done("closing"): "half-done",
    half_done("aborting"): "half-done",
    unborn_upload: "half-done",
    draft_of_a_part: "draft",
    draft_of_a_record: "draft",
    cut_put: "content .* has no record",
    rest_of_a_deletion: "thrown away",
    draft_of_a_key: "never became a key",
}
FOUND: dict[Callable[[Planter], None], str] = {
    upload_without_document: "inbox: the open upload",
    upload_of_a_cancelled_one: "inbox: the open upload",
    upload_of_another_try: "inbox: the open upload",
    lost_upload: "lost it",
    object_of("failed", "inbox"): "inbox: the object",
    object_of("archived", "inbox"): "inbox: the object",
    object_of_nothing("permanent"): "permanent: the object",
    object_of("deleted", "download"): "download: the object",
    half_interrogation: "permanent: the open upload",
    secret_of_nothing: "secret s",
    half_deletion: "not archived",
    miscounted_box: "counts",
    lost_job: "has no job",
    missing_content: "named and not there",
    content_cut_short: "content of another size",
    missing_object: "has no object",
    missing_secret: "has no secret",
    missing_entry: "not registered",
    entry_without_upload: "not archived",
    received_and_gone: "not in the inbox",
}


def names(plants: dict[Callable[[Planter], None], str]) -> list[str]:
    return [f"{plant.__qualname__.partition('.')[0]}-{number}" for number, plant in enumerate(plants)]


@pytest.fixture
def planter(furnished: Path, tmp_path: Path) -> Planter:
    shutil.copytree(furnished, tmp_path / "archive")
    return Planter(tmp_path / "archive")


class Emptied(FilesystemStorage):
    """Storage whose folders go while it is looked through."""

    async def settle(self) -> bool:
        raise BucketNotFound("inbox")


def test_a_bucket_that_has_gone_is_named(tmp_path: Path) -> None:
    hub = Hub(
        alias="here",
        ring=cast(KeyRing, None),
        storage=Emptied(tmp_path, signing=UrlSigner("http://here", bytes(16), time.time)),
    )
    with pytest.raises(LocalError, match="inbox"):
        trio.run(settle, Hubs([hub]))


def test_an_archive_at_rest_has_no_faults_and_a_start_changes_nothing(planter: Planter) -> None:
    before = sorted((planter.root / "objects").rglob("*/*"))
    assert check(planter.root).faults == []
    trio.run(start, planter.root)
    assert check(planter.root).faults == []
    assert sorted((planter.root / "objects").rglob("*/*")) == before


@pytest.mark.parametrize(("plant", "finding"), MENDED.items(), ids=names(MENDED))
def test_what_a_crash_leaves_is_found_and_mended(
    planter: Planter, plant: Callable[[Planter], None], finding: str
) -> None:
    plant(planter)
    report = check(planter.root)
    assert matches(finding, report.faults), report.faults
    trio.run(start, planter.root)
    assert check(planter.root).faults == []


@pytest.mark.parametrize(("plant", "finding"), FOUND.items(), ids=names(FOUND))
def test_what_a_crash_cannot_make_is_found_too(
    planter: Planter, plant: Callable[[Planter], None], finding: str
) -> None:
    plant(planter)
    assert matches(finding, check(planter.root).faults)


def matches(pattern: str, lines: list[str]) -> bool:
    return any(re.search(pattern, line) for line in lines)


def test_a_closing_that_was_cut_off_is_closed_by_the_next_call(planter: Planter) -> None:
    folder = planter.upload_folder()
    os.rename(folder, f"{folder}.closing")
    upload = planter.upload("open")

    async def serve() -> None:
        async with open_archive(embedded(planter.root)) as archive:
            await settle(archive.hubs)
            assert await archive.uploads.part_url(upload["box_id"], upload["id"], 1)

    trio.run(serve)
