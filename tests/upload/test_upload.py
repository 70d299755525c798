"""Uploads that go well, or well in the end: the hub can open what arrived, and the archive agrees on every digest."""

from __future__ import annotations

import hashlib

import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_transport import TokenRefusedError
from connector.clients.objects import UrlRefusedError
from connector.crypt4gh.segments import sealed_size
from connector.errors import IntegrityError, RefusedError, UsageError
from connector.transfer import OverloadedError, TooManyOpenTransfersError
from connector.upload import UploadSource
from tests.support.contract_client import seal
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio

ONE_PART = 80 * 65_536 - 124
"""Plaintext bytes of an upload of exactly one part: the last segment is smaller by the envelope."""


@pytest.mark.parametrize("size", [1, 65_536, 65_537, ONE_PART - 1, ONE_PART, ONE_PART + 1, 10_600_000])
async def test_every_byte_arrives(desk: Desk, size: int, virtual_time: MockClock) -> None:
    source = desk.file(size)
    (outcome,) = await desk.upload(source)
    data = source.path.read_bytes()
    done = outcome.unwrap()
    assert (done.alias, done.size, done.sha256) == ("data.bin", size, hashlib.sha256(data).hexdigest())
    assert desk.states == ["inbox"]
    assert desk.archive.opened("data.bin") == data
    assert desk.notes.retries == []
    assert desk.notes.through == desk.notes.sizes == {"data.bin": 124 + sealed_size(size)}
    assert desk.journals == []


async def test_what_is_announced_is_what_comes(desk: Desk, virtual_time: MockClock) -> None:
    await desk.upload(desk.file(10_600_000))
    (upload,) = desk.archive.uploads.values()
    assert upload.announced == {
        "alias": "data.bin",
        "decrypted_size": 10_600_000,
        "encrypted_size": len(upload.content),
        "part_size": desk.PART,
        "overwrite": False,
    }
    assert [len(upload.parts[n]) for n in sorted(upload.parts)] == [
        desk.PART,
        desk.PART,
        len(upload.content) - 2 * desk.PART,
    ]
    assert sorted(desk.archive.stored_parts) == [1, 2, 3], "each part is sent once"
    assert sorted(desk.archive.orders) == ["close", "create", "upload"]


async def test_many_files_at_once(desk: Desk, virtual_time: MockClock) -> None:
    sources = [desk.file(n * 100_000 + 1, f"file {n}") for n in range(20)]
    outcomes = await desk.upload(*sources, concurrency=6)
    assert [outcome.label for outcome in outcomes] == [source.alias for source in sources]
    for source in sources:
        assert desk.archive.opened(source.alias) == source.path.read_bytes()


async def test_a_box_that_takes_few_at_once_is_filled_in_a_window_of_that_size(
    desk: Desk, virtual_time: MockClock
) -> None:
    desk.archive.window = 3
    desk.archive.latency["put"] = 1.0
    sources = [desk.file(1000 + n, f"{n}") for n in range(20)]
    outcomes = await desk.upload(*sources, concurrency=8)
    assert all(outcome.ok for outcome in outcomes)
    assert desk.archive.most_open == 3
    assert desk.archive.counts["create"] < 20 + 40, "the archive is not asked over and over"


async def test_tokens_of_announcements_are_fetched_once_and_before_there_is_a_place(
    desk: Desk, virtual_time: MockClock
) -> None:
    """With a second for each call the places would be empty for a second more per file, did a file in them begin so."""
    desk.archive.window = 2
    for kind in ("order", "create", "part-url", "put", "complete"):
        desk.archive.latency[kind] = 1.0
    sources = [desk.file(1000 + n, f"{n}") for n in range(8)]
    outcomes = await desk.upload(*sources, concurrency=8)
    assert all(outcome.ok for outcome in outcomes)
    assert desk.archive.counts["create"] > 8, "some were turned away"
    assert desk.archive.counts["order"] == 8 * 3
    # By twos, each with five calls in a row: creation, tokens, URL, part, completion.
    assert trio.current_time() <= 4 * 5 + 3


async def test_a_box_that_is_full_of_others_uploads_is_a_refusal(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.window = 0
    (outcome,) = await desk.upload(desk.file(10))
    assert isinstance(outcome.error, TooManyOpenTransfersError)
    assert outcome.error.exit_code == 4


async def test_tokens_that_are_used_up_are_renewed(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(10_600_000)
    desk.archive.token_uses = 1
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok
    assert {type(error) for _, error, _ in desk.notes.retries} == {TokenRefusedError}
    assert desk.archive.opened("data.bin") == source.path.read_bytes()
    assert trio.current_time() == 0


async def test_tokens_that_run_out_are_renewed_before_they_are_used(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(16_000_000)
    desk.archive.token_seconds = 3.0
    desk.archive.latency["put"] = 2.0
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok
    assert desk.notes.retries == []
    assert desk.archive.orders.count("upload") == 2


async def test_an_url_that_was_refused_is_asked_for_anew(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(10_600_000)
    desk.archive.fail("put", 403, b"<Code>AccessDenied</Code>")
    (outcome,) = await desk.upload(source)
    assert outcome.ok
    assert [(type(error), delay) for _, error, delay in desk.notes.retries] == [(UrlRefusedError, 0.0)]
    assert desk.archive.counts["part-url"] == 4
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_a_busy_storage_is_asked_again(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(10_600_000)
    desk.archive.fail("put", 503, times=2, retry_after="4")
    desk.archive.fail("part-url", 429, retry_after="2")
    (outcome,) = await desk.upload(source)
    assert outcome.ok
    assert {type(error) for _, error, _ in desk.notes.retries} == {OverloadedError}
    assert desk.archive.opened("data.bin") == source.path.read_bytes()
    assert desk.notes.through == desk.notes.sizes


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("kind", ["order", "create", "part-url", "put", "complete"])
async def test_a_connection_that_is_cut_is_made_again(
    desk: Desk, kind: str, after: bool, virtual_time: MockClock
) -> None:
    source = desk.file(ONE_PART + 1)
    desk.archive.cut(kind, after=after)
    (outcome,) = await desk.upload(source)
    assert outcome.ok, outcome.error
    assert desk.states == ["inbox"]
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_somebody_elses_upload_is_not_replaced_because_a_connection_broke_first(
    desk: Desk, virtual_time: MockClock
) -> None:
    await desk.upload(desk.file(10))
    desk.archive.cut("create")
    other = desk.folder / "other"
    other.write_bytes(b"other")
    (outcome,) = await desk.upload(UploadSource(other, "data.bin"))
    assert isinstance(outcome.error, RefusedError), "it was there before we asked"
    assert desk.archive.opened("data.bin") != b"other"


@pytest.mark.parametrize(("listing", "code"), [(None, 4), (403, 4), (500, 5)])
async def test_a_refusal_after_a_request_that_was_lost_is_told(
    desk: Desk, listing: int | None, code: int, virtual_time: MockClock
) -> None:
    """The box is looked into first: the lost request may have been granted, and be the reason."""
    desk.archive.cut("create")
    desk.archive.fail("create", 409, {"exception_id": "boxStateError", "description": "", "data": {}})
    if listing is not None:
        desk.archive.fail("list", listing, times=100)
    (outcome,) = await desk.upload(desk.file(10))
    assert outcome.error is not None
    assert outcome.error.exit_code == code
    if isinstance(outcome.error, RefusedError):
        assert outcome.error.exception_id == "boxStateError"
    assert desk.archive.counts["list"] >= 1
    assert desk.states == []


async def test_a_part_that_was_damaged_on_its_way_is_sent_again(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(10_600_000)
    desk.archive.misname(2)
    (outcome,) = await desk.upload(source)
    assert outcome.ok
    assert [type(error) for _, error, _ in desk.notes.retries] == [IntegrityError]
    assert sorted(desk.archive.stored_parts) == [1, 2, 2, 3]
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_an_upload_with_the_same_alias_is_replaced_only_on_demand(desk: Desk, virtual_time: MockClock) -> None:
    await desk.upload(desk.file(100))
    source = desk.file(101)
    (outcome,) = await desk.upload(source)
    assert isinstance(outcome.error, RefusedError)
    assert outcome.error.exception_id == "fileUploadAlreadyExists"
    assert outcome.error.hint.startswith("Choose another --alias, replace it (--overwrite)")
    assert desk.archive.counts["put"] == 1
    (outcome,) = await desk.upload(source, overwrite=True)
    assert outcome.ok
    assert desk.states == ["inbox"]
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_empty_and_encrypted_files_are_refused_before_the_archive_hears_of_them(desk: Desk) -> None:
    desk.folder.joinpath("sealed").write_bytes(seal(b"x", sender=b"s" * 32, recipient=desk.user.public).content)
    sources = [desk.file(0, "empty"), UploadSource(desk.folder / "sealed", "sealed")]
    empty, sealed = await desk.upload(*sources)
    assert isinstance(empty.error, UsageError)
    assert isinstance(sealed.error, UsageError)
    assert "is empty" in empty.error.message
    assert "encrypted" in sealed.error.message
    assert desk.archive.counts["create"] == 0


@pytest.mark.parametrize("aliases", [("a", "a"), ("\u00e9", "e\u0301")])
async def test_aliases_that_two_files_share_are_refused_before_anything_is_sent(
    desk: Desk, aliases: tuple[str, ...]
) -> None:
    sources = [UploadSource(desk.file(10, f"{n}").path, alias) for n, alias in enumerate(aliases)]
    with pytest.raises(UsageError):
        await desk.upload(*sources)
    assert desk.archive.counts["create"] == 0


async def test_a_plan_sends_nothing(desk: Desk) -> None:
    sources = [desk.file(10_600_000), desk.file(0, "empty")]
    async with desk.session() as session:
        big, empty = await session.plan_upload(sources)
    plan = big.unwrap()
    assert (plan.alias, plan.size, plan.part_size, plan.parts) == ("data.bin", 10_600_000, desk.PART, 3)
    assert not empty.ok
    assert set(desk.archive.counts) == {"values", "package", "order", "list"}
    assert desk.journals == []
