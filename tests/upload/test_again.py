"""The same command again: files that are in the box already are no errors, and cost next to nothing."""

from __future__ import annotations

import os

import pytest
from trio.testing import MockClock

from connector.errors import RefusedError
from connector.transfer import Outcome
from connector.upload import UploadedFile, UploadSource
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio


def there(outcomes: list[Outcome[UploadedFile]]) -> list[str | None]:
    return [outcome.unwrap().already_there for outcome in outcomes]


@pytest.fixture
def sources(desk: Desk) -> list[UploadSource]:
    return [desk.file(1000 + n, f"{n}") for n in range(20)]


async def test_what_an_earlier_run_finished_is_looked_up_once(
    desk: Desk, sources: list[UploadSource], virtual_time: MockClock
) -> None:
    first = await desk.upload(*sources)
    desk.archive.counts.clear()
    again = await desk.upload(*sources)
    assert there(again) == ["record"] * 20
    assert [one.unwrap().file_id for one in again] == [one.unwrap().file_id for one in first]
    assert [one.unwrap().sha256 for one in again] == [one.unwrap().sha256 for one in first]
    assert desk.archive.counts == {"values": 1, "package": 1, "order": 1, "list": 1}
    assert desk.journals == []


async def test_elsewhere_only_the_sizes_are_compared(
    desk: Desk, sources: list[UploadSource], virtual_time: MockClock
) -> None:
    await desk.upload(*sources)
    desk.archive.counts.clear()
    outcomes = await Desk.elsewhere(desk).upload(*sources)
    assert there(outcomes) == ["size"] * 20
    assert {outcome.unwrap().sha256 for outcome in outcomes} == {None}
    assert desk.archive.counts["list"] == 1
    # As many as stand prepared when the first refusal comes are announced; all others are looked up.
    assert desk.archive.counts["create"] <= 20
    assert desk.archive.counts["put"] == 0


async def test_files_that_come_after_the_first_refusal_are_not_announced(desk: Desk, virtual_time: MockClock) -> None:
    sources = [desk.file(1000 + n, f"{n}") for n in range(100)]
    await desk.upload(*sources)
    desk.archive.counts.clear()
    outcomes = await Desk.elsewhere(desk).upload(*sources)
    assert there(outcomes) == ["size"] * 100
    assert desk.archive.counts["list"] == 1
    assert desk.archive.counts["create"] <= 64, "the window lets so many prepare themselves at once"


async def test_an_interrupted_batch_goes_on_with_the_rest(
    desk: Desk, sources: list[UploadSource], virtual_time: MockClock
) -> None:
    await desk.upload(*sources[:7])
    outcomes = await desk.upload(*sources)
    assert there(outcomes) == ["record"] * 7 + [None] * 13
    assert desk.archive.counts["put"] == 20


async def test_where_no_listing_is_granted_the_notes_know(
    desk: Desk, sources: list[UploadSource], virtual_time: MockClock
) -> None:
    desk.archive.separate_keys = True
    await desk.upload(*sources)
    assert desk.archive.counts["list"] == 0
    desk.archive.counts.clear()
    assert there(await desk.upload(*sources)) == ["record"] * 20
    assert desk.archive.counts["list"] == 2, "two fresh tokens, once for all"
    assert desk.archive.counts["put"] == 0


async def test_where_nobody_knows_what_is_in_the_box_it_is_a_refusal(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(1000)
    await desk.upload(source)
    desk.archive.separate_keys = True
    (outcome,) = await Desk.elsewhere(desk).upload(source)
    assert isinstance(outcome.error, RefusedError)
    assert "refuses to list" in outcome.error.message
    assert outcome.error.hint.startswith("Choose another --alias")


async def test_other_content_of_the_same_size_is_told_from_what_was_uploaded(
    desk: Desk, virtual_time: MockClock
) -> None:
    source = desk.file(1000)
    await desk.upload(source)
    source.path.write_bytes(bytes(1000))
    (outcome,) = await desk.upload(source)
    assert isinstance(outcome.error, RefusedError)
    assert "other content" in outcome.error.message
    assert desk.archive.counts["put"] == 1


async def test_a_file_that_was_only_touched_is_read_and_is_there(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(10_600_000)
    await desk.upload(source)
    os.utime(source.path, ns=(1, 1))
    (outcome,) = await desk.upload(source)
    assert outcome.unwrap().already_there == "sha256"
    (outcome,) = await desk.upload(source)
    assert outcome.unwrap().already_there == "record", "the new time is noted"


async def test_what_failed_in_the_archive_is_sent_again(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(1000)
    await desk.upload(source)
    desk.archive.upload_of("data.bin").state = "failed"
    (outcome,) = await desk.upload(source)
    assert outcome.unwrap().already_there is None
    assert desk.states == ["inbox"]


@pytest.mark.parametrize("state", ["inbox", "interrogated"])
async def test_overwriting_what_this_command_has_overwritten_is_not_done_twice(
    desk: Desk, state: str, virtual_time: MockClock
) -> None:
    source = desk.file(1000)
    await desk.upload(source, overwrite=True)
    desk.archive.upload_of("data.bin").state = state
    (outcome,) = await desk.upload(source, overwrite=True)
    assert outcome.unwrap().already_there == "record"
    assert desk.archive.counts["put"] == 1


async def test_what_is_to_be_replaced_and_cannot_be_is_no_success_where_its_content_is_not_known(
    desk: Desk, virtual_time: MockClock
) -> None:
    source = desk.file(1000)
    await desk.upload(source)
    desk.archive.upload_of("data.bin").state = "interrogated"
    (outcome,) = await Desk.elsewhere(desk).upload(source, overwrite=True)
    assert isinstance(outcome.error, RefusedError)
    assert "no longer" in outcome.error.message


async def test_overwriting_is_not_offered_where_it_was_tried(desk: Desk, virtual_time: MockClock) -> None:
    await desk.upload(desk.file(1000))
    desk.archive.upload_of("data.bin").state = "interrogated"
    (outcome,) = await desk.upload(desk.file(1001), overwrite=True)
    assert isinstance(outcome.error, RefusedError)
    assert "--overwrite" not in outcome.error.hint
    assert outcome.error.hint.endswith("connector rm data.bin")


async def test_an_announcement_that_was_never_answered_is_cleared_up_where_listings_are_refused(
    desk: Desk, virtual_time: MockClock
) -> None:
    """Nothing tells whose upload that is: the user has to decide."""
    desk.archive.separate_keys = True
    source = desk.file(1000)
    desk.archive.cut("create", after=True)
    (outcome,) = await desk.upload(source)
    assert isinstance(outcome.error, RefusedError)
    assert desk.states == ["init"]
    (outcome,) = await desk.upload(source, overwrite=True)
    assert outcome.ok
    assert desk.states == ["inbox"]


async def test_a_plan_tells_what_is_there(desk: Desk, sources: list[UploadSource], virtual_time: MockClock) -> None:
    await desk.upload(*sources[:2])
    other = desk.file(999, "0")
    async with desk.session() as session:
        outcomes = await session.plan_upload([other, *sources[1:3]])
    assert isinstance(outcomes[0].error, RefusedError)
    assert [outcome.unwrap().already_there for outcome in outcomes[1:]] == ["record", None]


async def test_a_plan_needs_no_listing(desk: Desk, sources: list[UploadSource], virtual_time: MockClock) -> None:
    desk.archive.separate_keys = True
    async with desk.session() as session:
        assert all(outcome.ok for outcome in await session.plan_upload(sources))


async def test_a_plan_made_elsewhere_compares_sizes(
    desk: Desk, sources: list[UploadSource], virtual_time: MockClock
) -> None:
    await desk.upload(*sources[:1])
    async with Desk.elsewhere(desk).session() as session:
        (outcome,) = await session.plan_upload(sources[:1])
    assert outcome.unwrap().already_there == "size"
