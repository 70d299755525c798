"""``manual_archival``: interrogated uploads wait for the steward who archives their box."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from connector.archive import admin
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.errors import BoxStateError
from connector.archive.jobs import LostLease
from connector.archive.models import Box, BoxState
from connector.archive.worker import Lease
from connector.errors import UsageError
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.errors import Unreachable
from persistence.objects.memory import MemoryStorage
from tests.support.archive_checker import check
from tests.support.contract_client import new_private_key, seal
from tests.support.memory_archive import at_rest, memory_archive, until_state, working

pytestmark = pytest.mark.trio


async def make_box(archive: Archive) -> Box:
    return await archive.boxes.create(title="", storage_alias="embedded")


async def upload(archive: Archive, box: Box, alias: str, *, close: bool = True) -> str:
    file = seal(os.urandom(1000), sender=new_private_key(), recipient=archive.hubs.default.public_key)
    created = await archive.uploads.create(box.id, UploadCreation(**file.announcement(alias)))
    await archive.hubs.default.storage.put_part("inbox", created.id, created.upload_id, 1, file.content)
    if close:
        claim: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in file.claim().items()}
        await archive.uploads.close(box.id, created.id, UploadCompletion(**claim))
    return created.id


async def archive_box(archive: Archive, box: Box) -> None:
    for state in ("locked", "archived"):
        await admin.set_box_state(archive, box.id, state)


async def test_uploads_stay_interrogated_until_their_box_is_archived() -> None:
    async with memory_archive(manual_archival=True) as archive, working(archive):
        box, other = await make_box(archive), await make_box(archive)
        in_box, in_other = await upload(archive, box, "a"), await upload(archive, other, "a")
        for file_id in (in_box, in_other):
            await until_state(archive, file_id, "interrogated")
        await archive_box(archive, box)
        await until_state(archive, in_box, "archived")
        assert [file.file_id async for file in archive.registry.find_all()] == [in_box]
        assert (await archive.boxes.get(box.id)).state == "archived"
        assert (await archive.upload_repository.get(in_other)).state == "interrogated"
        assert not await archive.hubs.default.storage.object_exists("inbox", in_other)


async def test_what_is_interrogated_can_be_deleted_while_its_box_is_open() -> None:
    async with memory_archive(manual_archival=True) as archive, working(archive):
        box = await make_box(archive)
        deleted, kept = await upload(archive, box, "a"), await upload(archive, box, "b")
        for file_id in (deleted, kept):
            await until_state(archive, file_id, "interrogated")
        await archive.uploads.cancel(box.id, deleted)
        await at_rest(archive)
        left = [found.object_id async for found in archive.hubs.default.storage.list_objects("permanent")]
        assert left == [(await archive.upload_repository.get(kept)).object_id]
        assert await archive.database.secrets.count({}) == 1
        await archive_box(archive, box)
        await until_state(archive, kept, "archived")
        with pytest.raises(BoxStateError):
            await archive.uploads.cancel(box.id, kept)


@pytest.mark.parametrize("state", ["init", "inbox"])
async def test_a_box_with_incomplete_uploads_is_not_archived(state: str) -> None:
    async with memory_archive(manual_archival=True) as archive:
        box = await make_box(archive)
        for number in range(12):
            file_id = await upload(archive, box, f"file-{number:02}", close=state == "inbox" or number < 8)
        assert (await archive.upload_repository.get(file_id)).state == state
        await admin.set_box_state(archive, box.id, "locked")
        with pytest.raises(UsageError, match=rf"file-\d\d \({state}\)") as caught:
            await admin.set_box_state(archive, box.id, "archived")
        assert "2 more" in caught.value.message
        assert (await archive.boxes.get(box.id)).state == "locked"


async def test_an_open_box_is_locked_first_and_an_archived_one_stays_so() -> None:
    async with memory_archive(manual_archival=True) as archive:
        box = await make_box(archive)
        with pytest.raises(UsageError) as caught:
            await admin.set_box_state(archive, box.id, "archived")
        assert f"archive lock {box.id}" in caught.value.hint
        await archive_box(archive, box)
        assert (await admin.set_box_state(archive, box.rdub_id, "archived")).state == "archived"
        with pytest.raises(UsageError, match="archived"):
            await admin.grant_upload(archive, bytes(32), box_id=box.id)
        states: tuple[BoxState, ...] = ("open", "locked")
        for state in states:
            with pytest.raises(UsageError):
                await admin.set_box_state(archive, box.id, state)


class FlakyStorage(MemoryStorage):
    """Fails deletions from the inbox while ``broken``."""

    broken = False

    async def delete_object(self, bucket: str, object_id: str) -> None:
        if self.broken and bucket == "inbox":
            raise Unreachable("No storage.")
        await super().delete_object(bucket, object_id)


async def test_what_the_storage_refuses_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    storage = FlakyStorage()
    async with memory_archive(manual_archival=True, storage=storage) as archive, working(archive):
        box = await make_box(archive)
        file_id = await upload(archive, box, "a")
        await until_state(archive, file_id, "interrogated")
        storage.broken = True
        await archive_box(archive, box)
        await trio.sleep(10)
        assert (await archive.upload_repository.get(file_id)).state == "awaiting_archival"
        storage.broken = False
        await trio.sleep(120)
        await until_state(archive, file_id, "archived")


async def test_a_box_is_archived_while_no_worker_runs(tmp_path: Path) -> None:
    config = embedded(tmp_path / "archive", manual_archival=True)
    async with open_archive(config) as archive:
        box, other = await make_box(archive), await make_box(archive)
        async with working(archive):
            file_id, waiting = await upload(archive, box, "a"), await upload(archive, other, "a")
            for one in (file_id, waiting):
                await until_state(archive, one, "interrogated")
            await at_rest(archive)
        await archive_box(archive, box)
    async with open_archive(config) as archive:
        async with working(archive):
            await until_state(archive, file_id, "archived")
            await at_rest(archive)
        assert (await archive.upload_repository.get(waiting)).state == "interrogated"
        assert len([file async for file in archive.registry.find_all()]) == 1
    assert check(tmp_path / "archive").faults == []


async def test_a_box_that_is_archived_while_its_last_file_is_interrogated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The file's own job ends before or after the box's: it is registered once in either case."""
    async with memory_archive(manual_archival=True) as archive:
        box = await make_box(archive)
        file_id = await upload(archive, box, "a")
        (job,) = [one async for one in archive.jobs.claim({"interrogate": 1}, worker="w")]
        lease = Lease(archive.jobs, job)
        await archive.works["interrogate"](lease)
        await archive_box(archive, box)
        (boxes,) = [one async for one in archive.jobs.claim({"archive_box": 1}, worker="w")]
        await archive.works["archive_box"](Lease(archive.jobs, boxes))
        assert (await archive.upload_repository.get(file_id)).state == "awaiting_archival"
        with pytest.raises(LostLease):
            await archive.works["register"](lease)
        async with working(archive):
            await until_state(archive, file_id, "archived")
        assert len([file async for file in archive.registry.find_all()]) == 1
