"""Files that are there already: left alone where they are the right ones, and what is compared to know that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from trio.testing import MockClock

from connector.download import DownloadedFile
from connector.download.request import DownloadRequest, ExistingFile, read_header
from connector.errors import FileExistsAlready, IntegrityError, UsageError
from connector.local.state_folder import FinishedFile
from connector.transfer import Outcome
from connector.wire.payloads import Checksum, DrsObject
from tests.download.conftest import Desk
from tests.support.contract_client import seal
from tests.support.fake_archive import ENVELOPE

pytestmark = pytest.mark.trio

SHA = "ab" * 32


def drs(size: int = 100 + 28, sha256: str = SHA) -> DrsObject:
    return DrsObject("F1", "drs://x/F1", size, (Checksum(sha256, "sha-256"),), ())


def existing(tmp_path: Path, size: int | None = 100, *, note: FinishedFile | None = None) -> ExistingFile:
    return ExistingFile(tmp_path / "F1.bin", size or 0, 5, size, note)


def request(tmp_path: Path, *, decrypt: bool = True, overwrite: bool = False) -> DownloadRequest:
    return DownloadRequest("F1", ".bin", tmp_path, decrypt, overwrite)


NOTE = FinishedFile(100, 5, SHA, "F1")


@pytest.mark.parametrize(
    ("overwrite", "size", "note", "shown"),
    [
        (False, 100, None, "size"),
        (True, 100, None, None),
        (True, 99, NOTE, None),
        (True, 100, NOTE, "record"),
        (True, 100, FinishedFile(100, 5, SHA, "F1", verified=False), None),
        (True, 100, FinishedFile(100, 5, "cd" * 32, "F1"), None),
    ],
)
async def test_what_shows_that_it_is_the_file(
    tmp_path: Path, overwrite: bool, size: int, note: Any, shown: str | None
) -> None:
    assert existing(tmp_path, size, note=note).compare(drs(), request(tmp_path, overwrite=overwrite)) == shown


@pytest.mark.parametrize("size", [99, 101, 128, None])
async def test_another_size_is_another_file(tmp_path: Path, size: int | None) -> None:
    with pytest.raises(FileExistsAlready, match="another size") as caught:
        existing(tmp_path, size).compare(drs(), request(tmp_path))
    assert not caught.value.hint.startswith("Give --overwrite")


async def test_what_is_encrypted_has_the_objects_size_behind_any_envelope(tmp_path: Path) -> None:
    assert existing(tmp_path, 128).compare(drs(), request(tmp_path, decrypt=False)) == "size"


@pytest.mark.parametrize("recipients", [1, 2, 100])
async def test_envelopes_of_any_length_are_found(tmp_path: Path, recipients: int) -> None:
    sealed = seal(b"x" * 10, sender=b"s" * 32, recipient=b"r" * 32).content
    packet = sealed[16:ENVELOPE]
    envelope = sealed[:12] + recipients.to_bytes(4, "little") + packet * recipients
    path = tmp_path / "x.c4gh"
    path.write_bytes(envelope + sealed[ENVELOPE:])
    assert read_header(path) == envelope


@pytest.mark.parametrize("content", [b"", b"crypt4gh", b"plain text", b"crypt4gh\1\0\0\0\1\0\0\0\x6c", b"c" * 10**6])
async def test_what_has_no_envelope(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.c4gh").write_bytes(content)
    assert read_header(tmp_path / "x.c4gh") is None


async def downloaded(desk: Desk, decrypt: bool, *, runs: int = 1, **options: Any) -> Outcome[DownloadedFile]:
    outcomes = []
    for _ in range(runs):
        desk.archive.counts.clear()
        async with desk.session() as session:
            (outcome,) = await session.download(output_dir=desk.folder, decrypt=decrypt, **options)
        outcomes.append(outcome)
    return outcomes[-1]


def forget(desk: Desk) -> None:
    for path in (desk.state / "finished").iterdir():
        path.unlink()


async def test_what_a_run_finished_costs_the_next_no_request(desk: Desk, name: str, decrypt: bool) -> None:
    data = desk.file(3.5)
    outcome = await downloaded(desk, decrypt, runs=2)
    file = outcome.unwrap()
    assert (file.already_there, file.verified, file.sha256) == ("record", True, hashlib.sha256(data).hexdigest())
    assert file.path == desk.folder / name
    assert desk.notes.outcomes[-1] is outcome
    assert set(desk.archive.counts) == {"values", "package"}


async def test_another_archive_may_have_other_files(desk: Desk, name: str, decrypt: bool) -> None:
    desk.file(3.5)
    await downloaded(desk, decrypt)
    async with desk.session() as session:
        settings = attrs.evolve(session.settings, wkvs_url="https://other.test/wkvs")
        other = attrs.evolve(session, settings=settings)
        (outcome,) = await other.download(output_dir=desk.folder, decrypt=decrypt)
    assert outcome.unwrap().already_there == "size"


async def test_without_a_note_the_size_is_compared(desk: Desk, name: str, decrypt: bool) -> None:
    data = desk.file(3.5)
    await downloaded(desk, decrypt)
    forget(desk)
    file = (await downloaded(desk, decrypt)).unwrap()
    assert (file.already_there, file.verified, file.sha256) == ("size", False, hashlib.sha256(data).hexdigest())
    assert (desk.archive.counts["order"], desk.archive.counts["object"], desk.archive.counts["get"]) == (1, 1, 0)
    file = (await downloaded(desk, decrypt)).unwrap()
    assert (file.already_there, desk.archive.counts["order"]) == ("size", 0), "noted, but nobody verified it"


async def test_a_note_about_another_time_says_nothing(desk: Desk, name: str, decrypt: bool) -> None:
    desk.file(3.5)
    await downloaded(desk, decrypt)
    os.utime(desk.folder / name, ns=(1, 1))
    assert (await downloaded(desk, decrypt)).unwrap().already_there == "size"


async def test_a_download_that_was_only_counted_is_not_called_verified(desk: Desk, name: str) -> None:
    desk.file(3.5)
    await downloaded(desk, False, verify=False)
    file = (await downloaded(desk, False)).unwrap()
    assert (file.already_there, file.verified, desk.archive.counts["order"]) == ("size", False, 0)


async def test_a_file_that_the_archive_is_staging_is_waited_for(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(1.5)
    await downloaded(desk, decrypt)
    forget(desk)
    desk.archive.files["GHGAF01"].waits = 2
    assert (await downloaded(desk, decrypt)).unwrap().already_there == "size"


@pytest.mark.parametrize("parts", [0.5, 1, 3.5])
async def test_the_content_is_compared_on_request(desk: Desk, name: str, decrypt: bool, parts: float) -> None:
    data = desk.file(parts)
    await downloaded(desk, decrypt)
    forget(desk)
    async with desk.leaving_nothing_open():
        file = (await downloaded(desk, decrypt, verify_existing=True)).unwrap()
    assert (file.already_there, file.verified, file.sha256) == ("sha256", True, hashlib.sha256(data).hexdigest())
    assert (desk.archive.counts["get"], desk.archive.counts["envelope"]) == (0, 0)
    assert (await downloaded(desk, decrypt)).unwrap().already_there == "record"


@pytest.mark.parametrize("at", [0, 200_000, -1])
async def test_content_that_differs_is_an_error_of_that_file_alone(
    desk: Desk, name: str, decrypt: bool, at: int
) -> None:
    desk.file(3.5)
    desk.file(1.5, "GHGAF02")
    await downloaded_all(desk, decrypt)
    path = desk.folder / name
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[at if decrypt or at else ENVELOPE + 20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    first, second = await downloaded_all(desk, decrypt, verify_existing=True)
    assert isinstance(first.error, IntegrityError)
    assert first.error.exit_code == 6
    assert "delete it" in first.error.hint
    assert second.unwrap().already_there == "sha256"
    assert path.read_bytes() == content, "it is not ours to remove"
    first, _ = await downloaded_all(desk, decrypt)
    assert first.unwrap().already_there == "size", "the note has proved wrong"


async def downloaded_all(desk: Desk, decrypt: bool, **options: Any) -> list[Outcome[DownloadedFile]]:
    async with desk.session() as session:
        return await session.download(output_dir=desk.folder, decrypt=decrypt, **options)


async def test_a_file_of_another_size_is_no_verified_one(desk: Desk, name: str, decrypt: bool) -> None:
    desk.file(3.5)
    await downloaded(desk, decrypt)
    (desk.folder / name).write_bytes(b"crypt4gh")
    outcome = await downloaded(desk, decrypt, verify_existing=True)
    assert isinstance(outcome.error, IntegrityError)
    assert "size" in outcome.error.message


async def test_what_the_archive_states_no_digest_of_is_not_called_verified(
    desk: Desk, name: str, decrypt: bool
) -> None:
    desk.file(1)
    await downloaded(desk, decrypt)
    desk.archive.files["GHGAF01"].claims["checksums"] = []
    outcome = await downloaded(desk, decrypt, verify_existing=True)
    assert isinstance(outcome.error, IntegrityError)
    assert "sha256" in outcome.error.message


async def test_what_is_not_there_is_fetched_also_when_it_would_be_verified(
    desk: Desk, name: str, decrypt: bool
) -> None:
    data = desk.file(3.5)
    outcome = await downloaded(desk, decrypt, verify_existing=True)
    assert outcome.unwrap().already_there is None
    assert desk.plaintext(name, decrypt=decrypt) == data


async def test_replacing_and_verifying_are_two_things(desk: Desk) -> None:
    desk.file(1)
    async with desk.session() as session:
        with pytest.raises(UsageError):
            await session.download(output_dir=desk.folder, overwrite=True, verify_existing=True)


async def test_overwriting_goes_on_where_it_was_interrupted(desk: Desk, decrypt: bool, virtual_time: MockClock) -> None:
    """What the interrupted run replaced is not replaced again; what was there before both is."""
    for number in range(3):
        desk.file(2, f"GHGAF0{number}")
        name = f"GHGAF0{number}.bin" + ("" if decrypt else ".c4gh")
        (desk.folder / name).write_bytes(b"old")

    def of_last(request: httpx.Request) -> bool:
        return request.url.path.endswith("GHGAF02")

    desk.archive.fail("get", 403, times=10**6, when=of_last)
    first = await downloaded_all(desk, decrypt, overwrite=True)
    assert [outcome.ok for outcome in first] == [True, True, False]
    desk.archive.heal()
    desk.archive.counts.clear()
    desk.archive.ranges.clear()
    second = await downloaded_all(desk, decrypt, overwrite=True)
    assert [outcome.unwrap().already_there for outcome in second] == ["record", "record", None]
    assert desk.archive.counts["get"] == 2, "the two parts of the last one"


async def test_overwriting_replaces_what_the_archive_has_changed(desk: Desk, name: str, decrypt: bool) -> None:
    desk.file(2)
    await downloaded(desk, decrypt)
    del desk.archive.files["GHGAF01"]
    changed = b"x" * (2 * desk.PLAIN)
    desk.archive.add_file("GHGAF01", changed)
    assert (await downloaded(desk, decrypt, overwrite=True)).unwrap().already_there is None
    assert desk.plaintext(name, decrypt=decrypt) == changed
