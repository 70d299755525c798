"""Downloads that go well, or well in the end: the right bytes under the right name."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_transport import TokenRefusedError
from connector.clients.objects import UrlRefusedError
from connector.errors import BrokenError, LocalError, RefusedError
from connector.transfer import OverloadedError
from tests.download.conftest import Desk

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("parts", [1 / 131072, 0.5, 1, 1 + 1 / 131072, 3, 7.3])
async def test_every_byte_arrives(desk: Desk, decrypt: bool, name: str, parts: Any, virtual_time: MockClock) -> None:
    data = desk.file(parts)
    (outcome,) = await desk.download(decrypt=decrypt)
    done = outcome.unwrap()
    assert (done.accession, done.path, done.sha256) == ("GHGAF01", desk.folder / name, hashlib.sha256(data).hexdigest())
    assert done.path.stat().st_size == done.size
    assert desk.names == [name]
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.notes.through == desk.notes.sizes
    assert desk.notes.retries == []


async def test_a_storage_may_send_whole_objects(desk: Desk, decrypt: bool, name: str, virtual_time: MockClock) -> None:
    """Ranges are a thing that servers may ignore (RFC 9110, section 14.2); the parts are picked out."""
    data = desk.file(4.5)
    desk.archive.serves_ranges = False
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok, outcome.error
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.notes.through == desk.notes.sizes
    assert desk.notes.retries == []


async def test_each_byte_is_asked_for_once(desk: Desk, decrypt: bool, virtual_time: MockClock) -> None:
    desk.file(5.5)
    await desk.download(decrypt=decrypt)
    content = desk.archive.files["GHGAF01"].content
    assert sorted(desk.archive.ranges) == [
        (start, min(start + desk.PART, len(content))) for start in range(0, len(content), desk.PART)
    ]
    assert desk.archive.counts["order"] == 1
    assert desk.archive.counts["object"] == 1
    assert desk.archive.counts["envelope"] == 1


async def test_many_files_at_once(desk: Desk, decrypt: bool, virtual_time: MockClock) -> None:
    data = {f"GHGAF{n:02}": desk.file(n / 3 + 0.01, f"GHGAF{n:02}") for n in range(12)}
    outcomes = await desk.download(decrypt=decrypt, concurrency=5)
    assert [outcome.label for outcome in outcomes] == list(data)
    for accession, plaintext in data.items():
        assert desk.plaintext(f"{accession}.bin{'' if decrypt else '.c4gh'}", decrypt=decrypt) == plaintext


async def test_only_the_files_that_are_named(desk: Desk, virtual_time: MockClock) -> None:
    for n in range(3):
        desk.file(0.1, f"GHGAF0{n}")
    await desk.download("GHGAF02", "GHGAF02", "GHGAF00")
    assert desk.names == ["GHGAF00.bin.c4gh", "GHGAF02.bin.c4gh"]


async def test_a_file_that_the_package_lacks_fails_alone(desk: Desk) -> None:
    desk.file(1.5)
    first, found, last = await desk.download("GHGAF98", "GHGAF01", "GHGAF99")
    assert (first.label, found.label, last.label) == ("GHGAF98", "GHGAF01", "GHGAF99")
    assert found.ok
    assert isinstance(first.error, RefusedError)
    assert isinstance(last.error, RefusedError)
    assert "GHGAF99" in last.error.message
    assert {outcome.label for outcome in desk.notes.outcomes} == {"GHGAF98", "GHGAF01", "GHGAF99"}


async def test_a_package_that_lacks_all_of_the_files_is_another_one(desk: Desk) -> None:
    desk.file(1.5)
    with pytest.raises(RefusedError, match="GHGAF99"):
        await desk.download("GHGAF99")


async def test_what_is_no_folder_is_told_before_anything_is_fetched(desk: Desk) -> None:
    desk.file(1)
    desk.folder.rmdir()
    desk.folder.write_bytes(b"")
    with pytest.raises(LocalError, match="folder"):
        await desk.download()
    assert desk.archive.counts["order"] == 0


async def test_memory_does_not_grow_with_the_file(desk: Desk, virtual_time: MockClock) -> None:
    data = desk.file(20)
    (outcome,) = await desk.download(decrypt=True, concurrency=8, memory=3 * desk.PART)
    assert outcome.ok
    assert desk.plaintext("GHGAF01.bin", decrypt=True) == data


async def test_staging_is_waited_for_as_long_as_the_archive_says(
    desk: Desk, decrypt: bool, name: str, virtual_time: MockClock
) -> None:
    data = desk.file(2, waits=3)
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert trio.current_time() == 3 * 45.0, "30 s as asked, and up to half as long again"
    assert [wait for _, wait, _ in desk.notes.waits] == [45.0] * 3
    assert desk.plaintext(name, decrypt=decrypt) == data
    # A token lives for 30 s, so each question after a wait takes a new one.
    assert desk.archive.counts["order"] == 4


async def test_files_that_are_staged_do_not_hold_up_the_others(desk: Desk, virtual_time: MockClock) -> None:
    desk.file(2, "GHGAF01", waits=2)
    desk.file(2, "GHGAF02")
    await desk.download(concurrency=1)
    assert [outcome.label for outcome in desk.notes.outcomes] == ["GHGAF02", "GHGAF01"]


async def test_staging_that_takes_for_ever_ends(desk: Desk, virtual_time: MockClock) -> None:
    desk.file(1, waits=10**9)
    desk.archive.staging_wait = 3600  # we ask at least every 5 minutes
    (outcome,) = await desk.download()
    assert isinstance(outcome.error, BrokenError)
    assert "86400 seconds" in outcome.error.message
    assert 86_400 - 330 < trio.current_time() <= 86_400
    assert desk.archive.counts["object"] == 262


async def test_tokens_that_are_used_up_are_renewed(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(4)
    desk.archive.token_uses = 1
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.archive.counts["order"] >= 2
    assert {type(error) for _, error, _ in desk.notes.retries} == {TokenRefusedError}
    assert trio.current_time() == 0, "a new token is tried at once"


async def test_an_url_that_was_refused_once_is_renewed_at_once(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(4)
    desk.archive.fail("get", 403, b"<Code>AccessDenied</Code>")
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert [(type(error), delay) for _, error, delay in desk.notes.retries] == [(UrlRefusedError, 0.0)]
    assert desk.archive.counts["object"] == 2
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert trio.current_time() == 0


async def test_urls_that_run_out_are_renewed_before_they_are_used(desk: Desk, virtual_time: MockClock) -> None:
    """Every range takes 3 s, and an URL is good for 5 s."""
    data = desk.file(8)
    desk.archive.url_seconds = 5.0
    desk.archive.latency["get"] = 3.0
    (outcome,) = await desk.download(decrypt=True, concurrency=1)
    assert outcome.ok
    assert desk.plaintext("GHGAF01.bin", decrypt=True) == data
    assert desk.notes.retries == []
    assert desk.archive.counts["object"] == 4


@pytest.mark.parametrize("waits", [0, 2])
async def test_a_staged_copy_that_was_cleaned_away_is_staged_again(
    desk: Desk, waits: int, virtual_time: MockClock
) -> None:
    data = desk.file(3)

    def is_cleaned_away(request: httpx.Request) -> bool:
        """From the second part on: the first one is kept."""
        if len(desk.archive.ranges) != 1:
            return False
        desk.archive.files["GHGAF01"].waits = waits
        return True

    desk.archive.fail("get", 404, b"<Code>NoSuchKey</Code>", when=is_cleaned_away)
    (outcome,) = await desk.download(decrypt=True, concurrency=1)
    assert outcome.ok
    assert desk.plaintext("GHGAF01.bin", decrypt=True) == data
    assert [wait for _, wait, _ in desk.notes.waits] == [45.0] * waits
    assert len(desk.archive.ranges) == 3, "each part once"


async def test_a_busy_archive_is_asked_again_when_it_says(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(3)
    desk.archive.fail("object", 503, retry_after="7")
    desk.archive.fail("order", 429, retry_after="2")
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert trio.current_time() == 1.5 * 9.0, "as asked, and half as long again"
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_a_busy_storage_is_asked_again_part_by_part(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(6)
    desk.archive.fail("get", 503, times=4)
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert [type(error) for _, error, _ in desk.notes.retries] == [OverloadedError] * 4
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.notes.through == desk.notes.sizes, "what failed is not counted"


async def test_cut_connections_are_made_again(desk: Desk, name: str, decrypt: bool, virtual_time: MockClock) -> None:
    data = desk.file(6)
    for kind in ("order", "object", "envelope"):
        desk.archive.cut(kind)
    desk.archive.cut("get", times=3)
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_after_a_cut_in_a_part_only_its_rest_is_fetched(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    data = desk.file(3)
    desk.archive.cut_short("get", 70_000)
    (outcome,) = await desk.download(decrypt=decrypt, concurrency=1)
    assert outcome.ok
    assert desk.archive.ranges[:2] == [(0, desk.PART), (70_000, desk.PART)]
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.notes.through == desk.notes.sizes


async def test_a_storage_that_stays_down_fails_its_file_alone(desk: Desk, virtual_time: MockClock) -> None:
    desk.file(3, "GHGAF01")
    data = desk.file(3, "GHGAF02")

    def of_first(request: httpx.Request) -> bool:
        return request.url.path.endswith("GHGAF01")

    desk.archive.fail("get", 500, times=10**6, when=of_first)
    first, second = await desk.download(decrypt=True)
    assert isinstance(first.error, OverloadedError)
    assert first.error.exit_code == 5
    assert second.ok
    assert desk.plaintext("GHGAF02.bin", decrypt=True) == data
    assert not (desk.folder / "GHGAF01.bin").exists()


async def test_a_file_of_another_size_is_not_touched(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(2)
    (desk.folder / name).write_bytes(b"precious")
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.error is not None
    assert outcome.error.exit_code == 3
    assert (desk.archive.counts["get"], desk.archive.counts["envelope"]) == (0, 0)
    assert (desk.folder / name).read_bytes() == b"precious"
    (outcome,) = await desk.download(decrypt=decrypt, overwrite=True)
    assert outcome.ok
    assert desk.names == [name]
