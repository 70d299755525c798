"""Removing uploads of every state: in the archive, and what this machine has noted of them."""

from __future__ import annotations

from uuid import UUID, uuid4

import attrs
import pytest
from trio.testing import MockClock

from connector.errors import ConnectorError, LocalError, RefusedError
from connector.local.state_folder import FinishedFile, FinishedFiles
from connector.transfer import Outcome
from connector.upload.listing import UNKNOWN, ListedFile, unfinished_uploads
from tests.support.fake_archive import Upload
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio


async def interrupted(desk: Desk, name: str) -> None:
    desk.archive.stick("put", lambda request: request.url.params["partNumber"] == "2")
    await desk.cancelled_at(desk.file(10_600_000, name))


def in_box(desk: Desk, alias: str) -> Upload:
    (upload,) = (upload for upload in desk.archive.uploads.values() if upload.alias == alias)
    return upload


async def removed(desk: Desk, *aliases: str) -> tuple[list[Outcome[ListedFile]], list[Outcome[ListedFile]]]:
    async with desk.session() as session:
        found = await session.find_uploads(aliases)
        return found, await session.remove([one.unwrap() for one in found if one.ok])


async def test_an_upload_of_any_state_is_removed(desk: Desk, virtual_time: MockClock) -> None:
    for name in ("a", "b", "c"):
        (outcome,) = await desk.upload(desk.file(1000, name))
        assert outcome.ok
    for name, state in (("b", "interrogated"), ("c", "failed")):
        in_box(desk, name).state = state
    found, outcomes = await removed(desk, "c", "a", "b")
    assert [one.unwrap().state for one in found] == ["failed", "inbox", "interrogated"]
    assert [(one.label, one.unwrap().state) for one in outcomes] == [(name, "cancelled") for name in ("c", "a", "b")]
    assert desk.states == ["cancelled"] * 3
    # What is gone already is as good, and costs no further request.
    deletions = desk.archive.counts["delete"]
    _, outcomes = await removed(desk, "a")
    assert outcomes[0].ok
    assert desk.archive.counts["delete"] == deletions


async def test_one_that_cannot_be_removed_does_not_stop_the_others(desk: Desk, virtual_time: MockClock) -> None:
    for name in ("a", "b"):
        await desk.upload(desk.file(1000, name))
    in_box(desk, "a").state = "archived"
    found, outcomes = await removed(desk, "a", "missing", "b")
    assert isinstance(found[1].error, RefusedError)
    assert "connector ls" in found[1].error.hint
    assert isinstance(outcomes[0].error, RefusedError)
    assert outcomes[0].error.exception_id == "fileUploadStateError"
    assert outcomes[1].ok


async def test_what_was_noted_here_goes_too(desk: Desk, virtual_time: MockClock) -> None:
    await interrupted(desk, "data.bin")
    assert len(desk.journals) == 1
    notes = FinishedFiles.read(desk.state / "finished", str(desk.archive.research_box))
    (upload,) = unfinished_uploads(desk.state / "uploads")
    notes.add(FinishedFile(5, 1, "0" * 64, str(upload.file_id)), "data.bin", "/data.bin")
    notes.add(FinishedFile(5, 1, "0" * 64, str(uuid4())), "data.bin", "/other.bin")
    _, outcomes = await removed(desk, "data.bin")
    assert outcomes[0].ok
    assert desk.journals == []
    after = FinishedFiles.read(desk.state / "finished", str(desk.archive.research_box))
    assert after.find("data.bin", "/data.bin") is None
    assert after.find("data.bin", "/other.bin") is not None, "that is another upload"


async def test_one_that_a_process_is_sending_is_refused(desk: Desk, virtual_time: MockClock) -> None:
    await interrupted(desk, "data.bin")
    (upload,) = unfinished_uploads(desk.state / "uploads")
    lock = upload.lock()
    try:
        _, outcomes = await removed(desk, "data.bin")
    finally:
        lock.release()
    assert isinstance(outcomes[0].error, LocalError)
    assert desk.states == ["init"]


async def test_where_nothing_is_listed_this_machine_knows_what_it_uploaded(desk: Desk, virtual_time: MockClock) -> None:
    await interrupted(desk, "data.bin")
    desk.archive.fail("list", 401, {"detail": "Invalid token"}, times=100)
    found, outcomes = await removed(desk, "data.bin", "elsewhere.bin")
    assert found[0].unwrap().state == UNKNOWN
    assert isinstance(found[1].error, RefusedError)
    assert found[1].error.status == 401
    assert outcomes[0].ok
    assert desk.states == ["cancelled"]


async def test_a_deleted_upload_does_not_hide_the_one_that_has_its_alias_now(
    desk: Desk, virtual_time: MockClock
) -> None:
    await desk.upload(desk.file(1000, "a"))
    standing = in_box(desk, "a")
    before, after = (Upload(UUID(int=number), standing.announced, "cancelled") for number in (1, 2))
    desk.archive.uploads = {upload.id: upload for upload in (before, standing, after)}
    async with desk.session() as session:
        (found,) = await session.find_uploads("a")
    assert found.unwrap().file_id == standing.id


@pytest.mark.parametrize(
    ("status", "exception_id", "calls", "ok"),
    [
        (404, "fileUploadNotFound", 1, True),
        (404, "s3UploadNotFound", 1, True),
        (404, "noSuchPath", 1, False),
        (409, "boxVersionOutdated", 2, True),
        (500, "internalError", 2, True),
        (500, "uploadAbortError", 2, True),
    ],
)
async def test_answers_to_a_deletion(
    desk: Desk, virtual_time: MockClock, status: int, exception_id: str, calls: int, ok: bool
) -> None:
    await desk.upload(desk.file(1000, "a"))
    desk.archive.fail("delete", status, {"exception_id": exception_id, "description": "", "data": {}})
    before = desk.archive.counts["delete"]
    _, outcomes = await removed(desk, "a")
    assert outcomes[0].ok is ok
    assert desk.archive.counts["delete"] == before + calls


async def test_an_upload_that_the_storage_never_gives_up(desk: Desk, virtual_time: MockClock) -> None:
    await desk.upload(desk.file(1000, "a"))
    desk.archive.fail("delete", 500, {"exception_id": "uploadAbortError", "description": "", "data": {}}, times=100)
    _, outcomes = await removed(desk, "a")
    assert isinstance(outcomes[0].error, RefusedError)
    assert "storage" in outcomes[0].error.hint
    assert desk.archive.counts["delete"] == 4, "it was tried again"


async def test_what_another_box_holds_is_left_and_told(desk: Desk, virtual_time: MockClock) -> None:
    await interrupted(desk, "data.bin")
    (unfinished,) = unfinished_uploads(desk.state / "uploads")
    async with desk.session() as session:
        foreign, ours = await session.discard_uploads([attrs.evolve(unfinished, box=UUID(int=5)), unfinished])
    assert isinstance(foreign.error, ConnectorError)
    assert "box" in foreign.error.message
    assert ours.ok
    assert [outcome.label for outcome in desk.notes.outcomes[-2:]] == ["data.bin"] * 2
