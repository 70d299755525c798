"""Waiting until the archive has checked uploads: what ends it, how often is asked, and what stays."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from connector.errors import BrokenError, IntegrityError, RefusedError
from connector.upload.waiting import outcome_of
from connector.wire.payloads import FileUpload
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio

ID, OTHER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize("state", ["interrogated", "awaiting_archival", "archived"])
async def test_checked_uploads_are_done(state: str) -> None:
    outcome = outcome_of("a", ID, FileUpload(ID, "a", state))
    assert outcome is not None
    assert outcome.value is not None
    assert outcome.value.state == state


@pytest.mark.parametrize("state", ["init", "inbox", "something new"])
async def test_others_are_waited_for(state: str) -> None:
    assert outcome_of("a", ID, FileUpload(ID, "a", state)) is None


@pytest.mark.parametrize(
    ("listed", "word"),
    [
        (FileUpload(ID, "a", "failed", failure_reason="The sha256 is another."), "The sha256 is another."),
        (FileUpload(ID, "a", "failed"), "no reason"),
        (FileUpload(ID, "a", "cancelled"), "cancelled"),
        (FileUpload(OTHER, "a", "interrogated"), "replaced"),
        (None, "removed"),
    ],
)
async def test_refused_uploads_fail_with_the_reason(listed: FileUpload | None, word: str) -> None:
    outcome = outcome_of("a", ID, listed)
    assert outcome is not None
    assert isinstance(outcome.error, IntegrityError)
    assert word in outcome.error.message


async def uploaded(desk: Desk, *names: str) -> dict[str, UUID]:
    outcomes = await desk.upload(*(desk.file(1000, name) for name in names))
    desk.archive.counts.clear()
    return {outcome.label: outcome.unwrap().file_id for outcome in outcomes}


async def test_all_are_asked_for_together_and_each_is_told_when_it_ends(
    desk: Desk, virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    uploads = await uploaded(desk, "a", "b", "c")
    began = trio.current_time()

    async def interrogate() -> None:
        for alias, seconds in (("b", 30), ("a", 1000), ("c", 0)):
            await trio.sleep(seconds)
            desk.archive.uploads[uploads[alias]].state = "archived"

    nursery.start_soon(interrogate)
    async with desk.session() as session:
        outcomes = await session.wait_for(uploads)
    assert [(one.label, one.unwrap().state) for one in outcomes] == [(alias, "archived") for alias in "abc"]
    assert 1030 <= trio.current_time() - began <= 1030 * 1.15
    assert desk.archive.counts["list"] < 80


async def test_an_upload_that_is_refused_does_not_end_the_wait_for_the_others(
    desk: Desk, virtual_time: MockClock
) -> None:
    uploads = await uploaded(desk, "a", "b")
    desk.archive.uploads[uploads["a"]].state = "failed"
    desk.archive.uploads[uploads["b"]].state = "interrogated"
    async with desk.session() as session:
        first, second = await session.wait_for(uploads)
    assert isinstance(first.error, IntegrityError)
    assert second.ok
    assert desk.archive.counts["list"] == 1


async def test_a_wait_that_times_out(desk: Desk, virtual_time: MockClock) -> None:
    uploads = await uploaded(desk, "a", "b")
    desk.archive.uploads[uploads["b"]].state = "interrogated"
    began = trio.current_time()
    async with desk.session() as session:
        first, second = await session.wait_for(uploads, timeout=90)
    assert isinstance(first.error, BrokenError)
    assert "inbox" in first.error.message
    assert second.ok
    assert trio.current_time() - began == pytest.approx(90, abs=1)
    assert desk.states.count("inbox") == 1, "it stays"


async def test_an_archive_that_does_not_answer_does_not_prolong_the_wait(desk: Desk, virtual_time: MockClock) -> None:
    uploads = await uploaded(desk, "a")
    desk.archive.fail("list", 503, times=1000, Retry_After="400")
    began = trio.current_time()
    async with desk.session() as session:
        (outcome,) = await session.wait_for(uploads, timeout=90)
    assert isinstance(outcome.error, BrokenError)
    assert trio.current_time() - began == pytest.approx(90, abs=1)


async def test_an_archive_that_lists_nothing_is_not_waited_for(desk: Desk, virtual_time: MockClock) -> None:
    uploads = await uploaded(desk, "a")
    desk.archive.fail("list", 401, {"detail": "Invalid"}, times=1000)
    async with desk.session() as session:
        with pytest.raises(RefusedError, match="cannot be requested") as raised:
            await session.wait_for(uploads)
    assert "--wait" in raised.value.hint
    assert desk.archive.counts["list"] == 2


async def test_nothing_to_wait_for(desk: Desk, virtual_time: MockClock) -> None:
    async with desk.session() as session:
        assert await session.wait_for({}, timeout=math.inf) == []
    assert desk.archive.counts["list"] == 0
