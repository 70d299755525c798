"""Interrupted uploads: the next run sends what is missing, and nothing else, in the middle of an encrypted file."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from connector.errors import LocalError, RefusedError
from connector.local.files import SourceChangedError, SourceState
from connector.local.journal import encode_record, read_journal
from connector.upload import UploadSource
from connector.upload.journals import UploadJournals
from connector.upload.listing import unfinished_uploads
from tests.support.journal_lines import part_line
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio

SIZE = 10_600_000  # 3 parts


def stuck_at(desk: Desk, number: int) -> None:
    desk.archive.stick("put", lambda request: request.url.params["partNumber"] == str(number))


async def interrupted(desk: Desk, number: int = 3, **options: Any) -> UploadSource:
    """An upload that was cancelled while part ``number`` was on its way."""
    source = desk.file(SIZE)
    stuck_at(desk, number)
    await desk.cancelled_at(source, **options)
    desk.notes.through.clear()
    return source


async def finished(desk: Desk, source: UploadSource, sent: list[int]) -> None:
    desk.notes.through.clear()
    desk.archive.stored_parts.clear()
    (outcome,) = await desk.upload(source)
    assert outcome.ok, outcome.error
    assert sorted(desk.archive.stored_parts) == sent
    assert desk.archive.opened(source.alias) == source.path.read_bytes()
    assert desk.journals == []
    assert desk.notes.through == desk.notes.sizes


@pytest.mark.parametrize("to_folder", [True, False])
async def test_an_upload_is_resumed_by_another_path_of_the_file(
    desk: Desk, tmp_path: Path, to_folder: bool, virtual_time: MockClock
) -> None:
    source = await interrupted(desk)
    link = tmp_path / "link"
    link.symlink_to(source.path.parent if to_folder else source.path)
    desk.archive.heal()
    other = UploadSource(link / source.path.name if to_folder else link, source.alias)
    await finished(desk, other, [3])
    (outcome,) = await desk.upload(source)
    assert outcome.unwrap().already_there == "record"


@attrs.frozen
class LinkedSource(UploadSource):
    """A source as versions recorded it whose paths had links."""

    @property
    def key(self) -> tuple[str, str]:
        return self.key_before


async def test_what_an_earlier_version_recorded_by_a_path_with_links_is_found(
    desk: Desk, tmp_path: Path, virtual_time: MockClock
) -> None:
    link = tmp_path / "link"
    link.symlink_to(desk.folder)
    desk.file(SIZE)
    stuck_at(desk, 3)
    await desk.cancelled_at(LinkedSource(link / "data.bin", "data.bin"))
    await finished(desk, UploadSource(link / "data.bin", "data.bin"), [3])
    desk.file(4000, "other.bin")
    assert (await desk.upload(LinkedSource(link / "other.bin", "other.bin")))[0].ok
    (outcome,) = await desk.upload(UploadSource(link / "other.bin", "other.bin"), overwrite=True)
    assert outcome.unwrap().already_there == "record"


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_parts_that_are_stored_are_not_sent_again(desk: Desk, number: int, virtual_time: MockClock) -> None:
    """Every border cuts a segment, so both of its sides must be pieces of the same ciphertext, sealed in two runs.

    If the first part is stuck, the others wait for their turn to be hashed.
    """
    source = await interrupted(desk, number)
    assert sorted(desk.archive.stored_parts) == [n for n in (1, 2, 3) if n != number]
    assert desk.states == ["init"]
    await finished(desk, source, [number])
    assert desk.states == ["inbox"]


async def test_interrupted_again_and_again(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(SIZE)
    for number in (1, 2, 3):
        stuck_at(desk, number)
        await desk.cancelled_at(source, concurrency=1)
    assert desk.archive.stored_parts == [1, 2]
    assert desk.archive.counts["create"] == 1
    await finished(desk, source, [3])


async def test_another_part_size_now_changes_nothing(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 2)
    desk.PART = 200 * 65_564
    await finished(desk, source, [2])


async def test_a_journal_is_for_its_owner_and_tells_no_secret(desk: Desk, virtual_time: MockClock) -> None:
    await interrupted(desk)
    (journal,) = desk.journals
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700
    head = json.loads(journal.read_bytes().splitlines()[0].partition(b" ")[2])
    assert head["alias"] == "data.bin"
    journals = UploadJournals(journal.parent, desk.user, desk.archive.research_box)
    left = journals.find(desk_source(desk), state_of(desk))
    assert left is not None
    assert left.started is not None
    secrets = left.started
    for secret in (secrets.session_key, secrets.nonce_seed):
        assert secret not in journal.read_bytes()
        assert secret.hex().encode() not in journal.read_bytes()
        assert base64.b64encode(secret) not in journal.read_bytes()
    assert repr(secrets.session_key) not in repr(left)
    assert repr(secrets.session_key) not in repr(left.started)


def desk_source(desk: Desk) -> UploadSource:
    return UploadSource(desk.folder / "data.bin", "data.bin")


def state_of(desk: Desk) -> SourceState:
    return SourceState.of(os.stat(desk.folder / "data.bin"))


async def test_the_journal_of_another_key_pair_is_of_no_use_and_no_harm(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    desk.user = desk.archive.user = KeyPair.of(b"v" * 32)
    await finished(desk, source, [1, 2, 3])
    (error,) = [error for _, error, _ in desk.notes.retries]
    assert "a different key" in error.message
    assert sorted(desk.states) == ["inbox"]


async def test_on_a_machine_without_the_journal_the_user_is_told(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    shutil.rmtree(desk.state)
    (outcome,) = await desk.upload(source)
    assert isinstance(outcome.error, RefusedError)
    assert outcome.error.hint.endswith("connector discard --in-box data.bin")
    (outcome,) = await desk.upload(source, overwrite=True)
    assert outcome.ok


@pytest.mark.parametrize("change", ["size", "time"])
async def test_a_file_that_is_another_one_now_is_begun_anew(desk: Desk, change: str, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    if change == "size":
        os.truncate(source.path, SIZE - 1)
    else:
        os.utime(source.path, ns=(1, 1))
    await finished(desk, source, [1, 2, 3])
    assert desk.states.count("inbox") == 1
    assert "init" not in desk.states, "the old one holds no place in the box"


async def test_an_upload_that_was_deleted_in_the_archive_is_begun_anew(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    (upload,) = desk.archive.uploads.values()
    upload.state = "cancelled"
    await finished(desk, source, [1, 2, 3])


@pytest.mark.parametrize("tail", [b"torn", b"0123456789abcdef {}\n"])
async def test_a_torn_journal_is_believed_as_far_as_it_can_be(desk: Desk, tail: bytes, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 3, concurrency=1)
    (journal,) = desk.journals
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_bytes(b"".join(lines[:2]) + tail)
    await finished(desk, source, [2, 3])


@pytest.mark.parametrize("content", [b"", b"nonsense\n"])
async def test_a_journal_that_cannot_be_believed_at_all(desk: Desk, content: bytes, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    (journal,) = desk.journals
    journal.write_bytes(content)
    (outcome,) = await desk.upload(source, overwrite=True)
    assert outcome.ok
    assert desk.archive.opened("data.bin") == source.path.read_bytes()


async def test_two_processes_do_not_send_the_same_file(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(SIZE)
    stuck_at(desk, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: desk.upload(source))
        await desk.archive.reached.wait()
        (outcome,) = await desk.upload(source)
        assert isinstance(outcome.error, LocalError)
        assert "this process" in outcome.error.message
        nursery.cancel_scope.cancel()
    desk.archive.heal()
    desk.notes.through.clear()
    (outcome,) = await desk.upload(source)
    assert outcome.ok


@pytest.mark.parametrize("size", [1000, SIZE], ids=["one part", "several parts"])
@pytest.mark.parametrize("kind", ["order", "create", "part-url", "put", "complete"])
async def test_cancelled_while_the_archive_keeps_us_waiting(
    desk: Desk, kind: str, size: int, virtual_time: MockClock
) -> None:
    source = desk.file(size)
    desk.archive.stick(kind)
    await desk.cancelled_at(source)
    assert not [path for path in desk.journals if path.suffix == ".lock"]
    if kind == "order":
        assert desk.journals == [], "the archive was not asked yet"
    if size == 1000 and kind in ("part-url", "put"):
        assert desk.states == ["cancelled"]
    assert "inbox" not in desk.states
    desk.archive.heal()
    sent = len(desk.archive.stored_parts)
    (outcome,) = await desk.upload(source)
    assert outcome.ok, outcome.error
    assert kind != "complete" or len(desk.archive.stored_parts) == sent, "all of it was stored"
    assert desk.archive.opened("data.bin") == source.path.read_bytes()
    assert desk.journals == []


async def killed_at(desk: Desk, source: UploadSource, kind: str, *, heard: bool) -> None:
    """Leave everything as if the process had been killed when it waited for that answer."""
    desk.archive.stick(kind, lambda request: not heard or desk.archive._route(request, kind).is_success)
    left = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: desk.upload(source))
        await desk.archive.reached.wait()
        await trio.sleep(1)
        (upload,) = desk.archive.uploads.values()
        state, parts = upload.state, dict(upload.parts)
        left = {path: path.read_bytes() for path in desk.journals if path.suffix != ".lock"}
        nursery.cancel_scope.cancel()
    desk.archive.heal()
    upload.state, upload.parts = state, parts
    for path, content in left.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "heard", "sent"),
    [("put", False, [1]), ("put", True, [1]), ("complete", False, []), ("complete", True, [])],
)
async def test_a_small_upload_that_was_killed_is_gone_on_with(
    desk: Desk, kind: str, heard: bool, sent: list[Any], virtual_time: MockClock
) -> None:
    source = desk.file(1000)
    await killed_at(desk, source, kind, heard=heard)
    assert desk.states == ["inbox" if (kind, heard) == ("complete", True) else "init"]
    await finished(desk, source, sent)
    assert desk.states == ["inbox"]
    assert desk.archive.counts["create"] == 1


async def test_a_small_upload_that_is_tried_again_notes_what_it_was_sealed_to_last(
    desk: Desk, virtual_time: MockClock
) -> None:
    source = desk.file(1000)
    desk.archive.fail("put", 503, times=2)
    await killed_at(desk, source, "complete", heard=True)
    await finished(desk, source, [])


async def test_files_that_waited_for_a_place_leave_nothing_behind(desk: Desk, virtual_time: MockClock) -> None:
    sources = [desk.file(1000 + n, f"{n}") for n in range(6)]
    desk.archive.window = 1
    desk.archive.stick("put")
    await desk.cancelled_at(*sources)
    assert desk.journals == []
    outcomes = await desk.upload(*sources)
    assert all(outcome.ok for outcome in outcomes)
    assert desk.archive.counts["list"] == 0, "nobody was suspected of having been announced before"


async def test_what_is_unfinished_is_listed_and_can_be_given_up(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 3)
    (unfinished,) = unfinished_uploads(desk.state / "uploads")
    assert (unfinished.alias, unfinished.path, unfinished.size) == ("data.bin", source.path, SIZE)
    assert 0 < unfinished.done < SIZE
    async with desk.session() as session:
        [discarded] = await session.discard_uploads([unfinished])
    assert discarded.ok
    assert desk.states == ["cancelled"]
    assert desk.journals == []
    assert unfinished_uploads(desk.state / "uploads") == []


# A source that changed ----------------------------------------------------------------------------------------------


def replace_content(source: UploadSource) -> bytes:
    """Other bytes, of the same number and with the same time, as ``cp -p`` and ``touch -r`` make them."""
    before = os.stat(source.path)
    data = bytearray(source.path.read_bytes())
    data[0] ^= 1
    source.path.write_bytes(data)
    os.utime(source.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(data)


def without_digests_of_the_source(path: Path) -> None:
    """Turn a journal into one that the commit before uploads were states would have left.

    Of a small file it recorded only what was about to be sent.
    """
    journal = read_journal(path.read_bytes())
    assert journal is not None
    head = dict(journal.head)
    if "sealed" in head:
        head["sealed"] = {name: value for name, value in head["sealed"].items() if name != "plain"}
    records = [encode_record(head)]
    for number, facts in ({} if "sealed" in head else journal.parts).items():
        records.append(part_line(number, {name: facts[name] for name in ("md5", "sha256")}))
    path.write_bytes(b"".join(records))


@pytest.mark.parametrize("number", [2, 3])
async def test_other_content_of_the_same_size_and_time_is_noticed(
    desk: Desk, number: int, virtual_time: MockClock
) -> None:
    source = await interrupted(desk, number, concurrency=1)
    (old,) = desk.archive.uploads
    data = replace_content(source)
    await finished(desk, source, [1, 2, 3])
    assert desk.archive.opened("data.bin") == data
    assert desk.states == ["inbox"]
    assert old not in desk.archive.uploads
    (error,) = [error for _, error, _ in desk.notes.retries]
    assert isinstance(error, SourceChangedError)


async def test_it_is_noticed_where_only_the_close_is_missing(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(SIZE)
    desk.archive.stick("complete")
    await desk.cancelled_at(source)
    replace_content(source)
    await finished(desk, source, [1, 2, 3])
    assert desk.states == ["inbox"]


async def test_a_change_behind_all_that_was_sent_restarts_nothing(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 3, concurrency=1)
    before = os.stat(source.path)
    with source.path.open("r+b") as file:
        file.seek(SIZE - 1)
        file.write(b"!")
    os.utime(source.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await finished(desk, source, [3])
    assert desk.archive.counts["create"] == 1


@pytest.mark.parametrize(("kind", "heard"), [("put", False), ("put", True), ("complete", False), ("complete", True)])
async def test_it_is_noticed_of_a_small_file(desk: Desk, kind: str, heard: bool, virtual_time: MockClock) -> None:
    source = desk.file(1000)
    await killed_at(desk, source, kind, heard=heard)
    replace_content(source)
    await finished(desk, source, [1])
    assert desk.states == ["inbox"]


async def test_what_a_journal_without_digests_of_the_source_tells_of_is_begun_again(
    desk: Desk, virtual_time: MockClock
) -> None:
    source = await interrupted(desk, 3, concurrency=1)
    (journal,) = desk.journals
    without_digests_of_the_source(journal)
    await finished(desk, source, [1, 2, 3])
    assert desk.states == ["inbox"]


async def test_so_is_a_small_file_that_was_received(desk: Desk, virtual_time: MockClock) -> None:
    source = desk.file(1000)
    await killed_at(desk, source, "complete", heard=True)
    (journal,) = desk.journals
    without_digests_of_the_source(journal)
    await finished(desk, source, [1])
    assert desk.states == ["inbox"]


# What the archive no longer has -------------------------------------------------------------------------------------


async def test_no_listing_is_needed_to_resume(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    desk.archive.separate_keys = True
    await finished(desk, source, [3])
    assert desk.archive.counts["list"] == 0
    assert desk.archive.orders.count("view") == 0


async def test_a_multipart_upload_that_the_storage_has_lost_is_begun_again(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    desk.archive.lose_upload("data.bin")
    await finished(desk, source, [1, 2, 3])
    assert desk.states == ["inbox"]


async def test_a_part_that_the_storage_has_lost_shows_at_the_close(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 3, concurrency=1)
    desk.archive.lose_part("data.bin", 1)
    desk.notes.through.clear()
    desk.archive.stored_parts.clear()
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok, outcome.error
    assert desk.archive.stored_parts == [3, 1, 2, 3]
    assert desk.states == ["inbox"]


async def test_a_bit_that_was_flipped_unseen_shows_at_the_close(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk, 3, concurrency=1)
    desk.archive.flip_part("data.bin", 1)
    (outcome,) = await desk.upload(source, concurrency=1)
    assert outcome.ok, outcome.error
    assert desk.archive.opened("data.bin") == source.path.read_bytes()
    assert desk.states == ["inbox"]


async def test_an_upload_that_was_replaced_by_the_file_itself_is_there(desk: Desk, virtual_time: MockClock) -> None:
    source = await interrupted(desk)
    other = Desk.elsewhere(desk)
    (outcome,) = await other.upload(source, overwrite=True)
    assert outcome.ok
    (outcome,) = await desk.upload(source)
    assert outcome.unwrap().already_there == "size"
    assert desk.journals == []
    assert desk.states == ["inbox"]
