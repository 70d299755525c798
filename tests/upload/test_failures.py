"""Uploads that fail: nothing is completed, nothing worthless is left, nothing of worth is lost."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.errors import BrokenError, ConnectorError, IntegrityError, LocalError, RefusedError
from connector.local.files import SourceChangedError
from connector.transfer import OverloadedError
from connector.upload import UploadSource
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio

SMALL, BIG = 1000, 10_600_000


async def failed(desk: Desk, *sources: UploadSource, **options: Any) -> ConnectorError:
    (outcome,) = await desk.upload(*sources, **options)
    assert outcome.error is not None
    return outcome.error


@pytest.mark.parametrize("size", [SMALL, BIG])
async def test_a_file_that_changed_is_not_completed(desk: Desk, size: int, virtual_time: MockClock) -> None:
    source = desk.file(size)
    desk.notes.on_opened = lambda label: os.utime(source.path)
    error = await failed(desk, source)
    assert isinstance(error, SourceChangedError)
    assert desk.archive.counts["complete"] == 0
    assert desk.states == ["cancelled"]
    assert desk.journals == []
    desk.notes.on_opened = lambda label: None
    (outcome,) = await desk.upload(source)
    assert outcome.ok


async def test_who_was_taken_over_after_a_long_silence_completes_and_deletes_nothing(
    desk: Desk, virtual_time: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = desk.file(BIG)
    hours = itertools.count(int(time.time()) // 3600 + 1)

    def take_over(label: str) -> None:
        (path,) = (desk.state / "uploads").glob("*.lock")
        path.write_text("another's")
        monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))

    desk.notes.on_opened = take_over
    error = await failed(desk, source)
    assert isinstance(error, LocalError)
    assert "taken over" in error.message
    assert desk.archive.counts["complete"] == 0
    assert desk.states == ["init"]
    assert {path.suffix for path in desk.journals} == {".upload", ".lock"}


async def test_a_file_that_got_shorter_is_not_completed(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.notes.on_opened = lambda label: os.truncate(source.path, SMALL)
    assert isinstance(await failed(desk, source), SourceChangedError)
    assert desk.states == ["cancelled"]
    assert desk.journals == []


async def test_a_file_that_vanished_is_not_completed(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.notes.on_opened = lambda label: source.path.unlink()
    assert isinstance(await failed(desk, source), LocalError)
    assert desk.archive.counts["complete"] == 0


async def test_a_file_of_one_part_that_fails_is_deleted_in_the_archive(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.fail("put", 500, times=10**6)
    error = await failed(desk, desk.file(SMALL))
    assert isinstance(error, OverloadedError)
    assert desk.states == ["cancelled"], "it must not hold a place in the box"


async def test_a_file_of_several_parts_that_fails_can_be_gone_on_with(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.archive.fail("put", 500, times=10**6, when=lambda r: r.url.params["partNumber"] == "3")
    assert isinstance(await failed(desk, source), OverloadedError)
    assert desk.states == ["init"]
    desk.archive.heal()
    desk.archive.stored_parts.clear()
    (outcome,) = await desk.upload(source)
    assert outcome.ok
    assert desk.archive.stored_parts == [3]
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_a_part_that_always_arrives_damaged_fails(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.misname(2, times=10**6)
    source = desk.file(BIG)
    assert isinstance(await failed(desk, source, concurrency=1), IntegrityError)
    desk.archive.heal()
    await resumed_without_sending(desk, source, 1)


async def test_etags_that_never_were_md5s_are_not_taken_for_damage(desk: Desk, virtual_time: MockClock) -> None:
    for number in (1, 2, 3):
        desk.archive.misname(number, times=10**6)
    (outcome,) = await desk.upload(desk.file(BIG), concurrency=1)
    assert outcome.ok, outcome.error
    assert desk.archive.stored_parts == [1, 1, 2, 3]


@pytest.mark.parametrize("keys", [{}, {"HD01": "AAAA"}, {"HD02": "A" * 43 + "="}])
async def test_without_the_hubs_key_nothing_is_sealed_or_left(
    desk: Desk, keys: dict[str, Any], virtual_time: MockClock
) -> None:
    desk.archive.hub_keys = keys
    error = await failed(desk, desk.file(SMALL))
    assert isinstance(error, BrokenError)
    assert "HD01" in error.message
    assert desk.archive.counts["put"] == 0
    assert desk.states == ["cancelled"]


@pytest.mark.parametrize(
    ("size", "kind", "status", "exception_id"),
    [
        (SMALL, "part-url", 404, "s3UploadNotFound"),
        (BIG, "part-url", 404, "s3UploadNotFound"),
        (SMALL, "part-url", 404, "fileUploadNotFound"),
        (SMALL, "complete", 500, "uploadCompletionError"),
        (BIG, "complete", 500, "uploadCompletionError"),
        (SMALL, "complete", 400, "checksumMismatch"),
        (BIG, "complete", 400, "checksumMismatch"),
        (SMALL, "complete", 400, "uploadSizeMismatch"),
        (SMALL, "complete", 409, "fileUploadStateError"),
        (SMALL, "complete", 404, "fileUploadNotFound"),
    ],
)
async def test_what_cannot_be_completed_is_deleted_and_starts_again_once(
    desk: Desk, kind: str, status: int, exception_id: str, size: int, virtual_time: MockClock
) -> None:
    source, body = desk.file(size), {"exception_id": exception_id, "description": "", "data": {}}
    desk.archive.fail(kind, status, body)
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok, outcome.error
    assert [label for label, error, _ in desk.notes.retries if error.advice.restart] == ["data.bin"]
    assert desk.states == ["inbox"]
    assert (desk.archive.counts["create"], desk.archive.counts["delete"]) == (2, 1)
    assert desk.journals == []
    desk.archive.uploads.clear()
    desk.archive.fail(kind, status, body, times=10**6)
    error = await failed(desk, source)
    assert isinstance(error, RefusedError)
    assert (error.exit_code, error.exception_id) == (4, exception_id)
    assert "same command" in error.hint
    assert desk.states == ["cancelled"], "it holds no place in the box"
    assert desk.journals == []


async def test_each_cause_starts_an_upload_again_once(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.archive.fail("complete", 400, {"exception_id": "checksumMismatch"})
    desk.archive.fail("complete", 500, {"exception_id": "uploadCompletionError"})
    desk.archive.fail("part-url", 404, {"exception_id": "s3UploadNotFound"})
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok, outcome.error
    assert [error.advice.restart for _, error, _ in desk.notes.retries] == ["lost", "damaged", "incomplete"]
    assert desk.states == ["inbox"]
    assert (desk.archive.counts["create"], desk.archive.counts["delete"]) == (4, 3)


async def test_closes_that_collide_are_repeated_at_once(desk: Desk, virtual_time: MockClock) -> None:
    sources = [desk.file(SMALL + n, f"{n}") for n in range(2)]
    desk.archive.colliding.add("complete")
    desk.archive.latency["complete"] = 1.0
    outcomes = await desk.upload(*sources)
    assert all(outcome.ok for outcome in outcomes)
    assert desk.notes.retries == []
    assert desk.states == ["inbox"] * 2
    assert desk.archive.counts["complete"] == 3


async def resumed_without_sending_a_byte(desk: Desk, source: UploadSource) -> None:
    await resumed_without_sending(desk, source, 1, 2, 3)


async def resumed_without_sending(desk: Desk, source: UploadSource, *stored: int) -> None:
    assert desk.states == ["init"]
    desk.archive.stored_parts.clear()
    (outcome,) = await desk.upload(source)
    assert outcome.ok, outcome.error
    assert not {*stored} & {*desk.archive.stored_parts}
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_a_box_that_is_locked_at_the_last_moment_loses_nothing(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.archive.fail("complete", 409, {"exception_id": "boxStateError", "description": "locked", "data": {}})
    error = await failed(desk, source)
    assert isinstance(error, RefusedError)
    assert error.exception_id == "boxStateError"
    await resumed_without_sending_a_byte(desk, source)


async def test_an_access_token_that_ends_at_the_last_moment_loses_nothing(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.archive.fail("order", 403, {"detail": "expired"}, times=2, when=lambda r: b'"close"' in r.content)
    assert isinstance(await failed(desk, source), RefusedError)
    await resumed_without_sending_a_byte(desk, source)


async def test_an_archive_that_goes_down_at_the_last_moment_loses_nothing(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(BIG)
    desk.archive.fail("complete", 503, times=4)
    assert isinstance(await failed(desk, source), OverloadedError)
    await resumed_without_sending_a_byte(desk, source)


async def test_one_failure_among_many_leaves_the_others_alone(desk: Desk, virtual_time: MockClock) -> None:
    sources = [desk.file(SMALL + n, f"{n}") for n in range(8)]
    sources[3].path.unlink()
    outcomes = await desk.upload(*sources)
    assert [outcome.ok for outcome in outcomes] == [n != 3 for n in range(8)]


async def test_deleting_may_fail_too(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.fail("put", 500, times=10**6)
    desk.archive.fail("delete", 500, times=10**6)
    error = await failed(desk, desk.file(SMALL))
    assert "PUT" in error.message, "the file's own failure is what the user hears of"


async def test_an_archive_that_hangs_while_we_delete_does_not_hold_us(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.fail("put", 400, times=10**6)
    desk.archive.stick("delete")
    with trio.fail_after(180):
        await failed(desk, desk.file(SMALL))
