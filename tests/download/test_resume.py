"""Interrupted downloads: the next run fetches what is missing, and nothing else."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.errors import LocalError
from connector.local.partial_file import PartialFile
from connector.local.targets import working_paths
from tests.download.conftest import Desk

pytestmark = pytest.mark.trio


async def interrupt(desk: Desk, parts: int, *, decrypt: bool, **options: Any) -> None:
    """Download until so many parts are through, then cancel."""
    with trio.CancelScope() as scope:

        def stop(label: str) -> None:
            if desk.notes.through[label] > parts * desk.PART:
                scope.cancel()

        desk.notes.on_progress = stop
        async with desk.leaving_nothing_open():
            await desk.download(decrypt=decrypt, **options)
    assert scope.cancelled_caught
    desk.notes.on_progress = lambda label: None
    desk.notes.through.clear()


async def test_the_next_run_fetches_only_what_is_missing(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(10.5)
    await interrupt(desk, 4, decrypt=decrypt)
    assert desk.names == [f"{name}.part", f"{name}.part.journal"]
    first = set(desk.archive.ranges)
    desk.archive.ranges.clear()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.names == [name]
    again = first & set(desk.archive.ranges)
    assert len(again) <= 3, "at most what was in flight is moved twice"
    assert len(desk.archive.ranges) <= 11 - 2, "of more than 4 parts' bytes, 3 parts were in flight at most"
    assert desk.notes.through == desk.notes.sizes


@pytest.mark.parametrize("factor", [2, 0.5])
async def test_another_part_size_resumes_too(
    desk: Desk, name: str, decrypt: bool, factor: float, virtual_time: MockClock
) -> None:
    data = desk.file(10.5)
    await interrupt(desk, 6, decrypt=decrypt)
    desk.archive.ranges.clear()
    missing = (11 - 4) * desk.PART
    desk.PART = int(desk.PART * factor)
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert sum(stop - start for start, stop in desk.archive.ranges) <= missing
    assert desk.names == [name]


@pytest.mark.parametrize("verify", [True, False])
async def test_verified_and_unverified_runs_resume_each_other(
    desk: Desk, verify: bool, virtual_time: MockClock
) -> None:
    data = desk.file(10.5)
    await interrupt(desk, 6, decrypt=False, verify=not verify, concurrency=1)
    partial = desk.folder / "GHGAF01.bin.c4gh.part"
    if verify:  # what was not verified is: this part is fetched again
        content = bytearray(partial.read_bytes())
        content[1000] ^= 1
        partial.write_bytes(content)
    desk.archive.ranges.clear()
    (outcome,) = await desk.download(decrypt=False, verify=verify)
    assert outcome.unwrap().verified is verify
    assert desk.plaintext("GHGAF01.bin.c4gh", decrypt=False) == data
    assert len(desk.archive.ranges) <= 11 - 4


async def test_interrupted_again_and_again_it_comes_to_an_end(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(12)
    for _ in range(20):
        desk.notes.through.clear()
        fetched = len(desk.archive.ranges)
        with trio.CancelScope() as scope:

            def stop(label: str, fetched: Any = fetched, scope: Any = scope) -> None:
                if len(desk.archive.ranges) > fetched + 2:
                    scope.cancel()

            desk.notes.on_progress = stop
            outcomes = await desk.download(decrypt=decrypt, concurrency=2)
        if not scope.cancelled_caught:
            break
    assert outcomes[0].ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert len(desk.archive.ranges) <= 3 * 12, "each run requests three parts, and keeps at least one"


async def test_what_was_fetched_before_a_failure_is_kept(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(8)
    last = 7 * desk.PART
    desk.archive.fail("get", 500, times=10**6, when=lambda r: r.headers["range"].startswith(f"bytes={last}-"))
    (outcome,) = await desk.download(decrypt=decrypt)
    assert not outcome.ok
    desk.archive.ranges.clear()
    desk.archive.heal()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.archive.ranges == [(last, last + desk.PART)]
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_bytes_that_the_disk_lost_are_noticed(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(8)
    await interrupt(desk, 4, decrypt=decrypt, concurrency=1)
    path = desk.folder / f"{name}.part"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    (outcome,) = await desk.download(decrypt=decrypt)
    # Plaintext carries no tag of its own: there the sha256 of the whole tells, and the whole is fetched anew.
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_a_working_copy_that_was_cut_is_filled_up(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(8)
    await interrupt(desk, 5, decrypt=decrypt, concurrency=1)
    os.truncate(desk.folder / f"{name}.part", desk.PLAIN + 10)
    (outcome,) = await desk.download(decrypt=decrypt, concurrency=1)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_a_file_that_is_another_one_now_is_begun_anew(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(8)
    await interrupt(desk, 4, decrypt=decrypt)
    data = desk.file(8.5)
    desk.archive.ranges.clear()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert len(desk.archive.ranges) == 9
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_a_file_that_was_sealed_anew_meanwhile(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    """Same plaintext, other session key: what was kept sealed is of no use, what was kept opened is."""
    data = desk.file(8)
    await interrupt(desk, 4, decrypt=decrypt)
    desk.archive.add_file("GHGAF01", data)
    desk.archive.ranges.clear()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert len(desk.archive.ranges) == 8 if not decrypt else len(desk.archive.ranges) < 8


async def test_sealed_and_decrypted_are_two_downloads(desk: Desk, virtual_time: MockClock) -> None:
    data = desk.file(6)
    await interrupt(desk, 3, decrypt=False)
    (outcome,) = await desk.download(decrypt=True)
    assert outcome.ok
    assert desk.names == ["GHGAF01.bin", "GHGAF01.bin.c4gh.part", "GHGAF01.bin.c4gh.part.journal"]
    assert desk.plaintext("GHGAF01.bin", decrypt=True) == data


async def test_a_second_process_on_the_same_file_is_refused(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(6)
    path = desk.folder / name
    with_other = PartialFile.open(path, size=10, kind="download", facts={"accession": "x"})
    (outcome,) = await desk.download(decrypt=decrypt)
    assert isinstance(outcome.error, LocalError)
    assert "this process" in outcome.error.message
    with_other.close()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok


async def test_a_small_file_leaves_nothing_behind(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(0.9)
    desk.archive.stick("get")
    await cancelled_at(desk, "get", decrypt)
    assert desk.names == []


async def cancelled_at(desk: Desk, kind: str, decrypt: bool) -> None:
    async with desk.leaving_nothing_open():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: desk.download(decrypt=decrypt))
            await desk.archive.reached.wait()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    desk.archive.stuck.clear()


@pytest.mark.parametrize("kind", ["order", "object", "envelope", "get"])
async def test_cancelled_while_the_archive_keeps_us_waiting(
    desk: Desk, name: str, decrypt: bool, kind: str, virtual_time: MockClock
) -> None:
    data = desk.file(5)
    desk.archive.stick(kind)
    await cancelled_at(desk, kind, decrypt)
    assert not (desk.folder / name).exists()
    assert working_paths(desk.folder / name)[0].with_name(f"{name}.part.lock").exists() is False
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_cancelled_while_the_file_is_staged(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(5, waits=5)
    async with desk.leaving_nothing_open():
        with trio.move_on_after(45) as scope:
            await desk.download(decrypt=decrypt)
    assert scope.cancelled_caught
    assert trio.current_time() == 45
    assert desk.names == []
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_cancelled_while_a_part_waits_for_its_turn_to_be_hashed(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    """The first part never comes, all others wait to be hashed behind it."""
    data = desk.file(5)
    desk.archive.stick("get", lambda r: r.headers["range"].startswith("bytes=0-"))
    async with desk.leaving_nothing_open():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: desk.download(decrypt=decrypt))
            await trio.sleep(1)  # until all that can go on has gone on
            nursery.cancel_scope.cancel()
    desk.archive.heal()
    assert not (desk.folder / name).exists()
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
