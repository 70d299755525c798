"""Bytes that are not what they should be: healed where the source is good, never under a final name where it is not."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from typing import Any, Literal

import pytest
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair, WrongKeyError
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE
from connector.errors import BrokenError, ConnectorError, FileExistsAlready, IntegrityError, RefusedError, UsageError
from tests.download.conftest import Desk
from tests.support.contract_client import seal
from tests.support.fake_archive import ENVELOPE

pytestmark = pytest.mark.trio


async def failed(desk: Desk, kind: type[ConnectorError] = IntegrityError, **options: Any) -> ConnectorError:
    (outcome,) = await desk.download(**options)
    assert outcome.error is not None
    assert type(outcome.error) is kind, outcome
    return outcome.error


@pytest.mark.parametrize(
    "offset", [0, 13, CIPHER_SEGMENT_SIZE - 1, 3 * CIPHER_SEGMENT_SIZE + 5, 9 * CIPHER_SEGMENT_SIZE]
)
async def test_a_part_that_was_damaged_on_its_way_is_fetched_again_by_itself(
    desk: Desk, name: str, decrypt: bool, offset: int, virtual_time: MockClock
) -> None:
    data = desk.file(5)
    desk.archive.damage(offset)
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    start = offset // desk.PART * desk.PART
    fetched = sorted(desk.archive.ranges)
    assert len(fetched) == 6
    assert fetched.count((start, start + desk.PART)) == 2, "that part, and no other"
    ((_, error, _),) = desk.notes.retries
    assert isinstance(error, IntegrityError)


async def test_a_part_that_is_damaged_at_the_source_fails_the_file_and_is_named(
    desk: Desk, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(5)
    stored = desk.archive.files["GHGAF01"]
    content = bytearray(stored.content)
    content[4 * CIPHER_SEGMENT_SIZE + 100] ^= 1
    stored.content = bytes(content)
    error = await failed(desk, decrypt=decrypt)
    assert f"bytes {4 * CIPHER_SEGMENT_SIZE} to {5 * CIPHER_SEGMENT_SIZE}" in error.message
    assert error.exit_code == 6
    assert all(".part" in left for left in desk.names)


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 9), (4, 5)])
async def test_swapped_segments_are_caught(
    desk: Desk, decrypt: bool, pair: tuple[int, ...], virtual_time: MockClock
) -> None:
    """Each of them is authentic, so only the sha256 of the whole can tell."""
    desk.file(5)
    stored = desk.archive.files["GHGAF01"]
    size = CIPHER_SEGMENT_SIZE
    segments = [stored.content[start : start + size] for start in range(0, len(stored.content), size)]
    segments[pair[0]], segments[pair[1]] = segments[pair[1]], segments[pair[0]]
    stored.content = b"".join(segments)
    error = await failed(desk, decrypt=decrypt)
    assert "is not what" in error.message
    assert desk.names == [], "nothing of it is worth keeping"


async def test_segments_that_were_swapped_on_their_way_are_put_right(
    desk: Desk, name: str, decrypt: bool, virtual_time: MockClock
) -> None:
    """Only the whole tells, so the whole is fetched anew."""
    data = desk.file(5)
    stored = desk.archive.files["GHGAF01"]
    size = CIPHER_SEGMENT_SIZE
    content = stored.content[2 * size : 3 * size] + stored.content[3 * size : 4 * size]
    swapped = content[size:] + content[:size]
    desk.archive.fail(
        "get",
        206,
        swapped,
        when=lambda r: r.headers["range"] == f"bytes={2 * size}-{4 * size - 1}",
        content_range=f"bytes {2 * size}-{4 * size - 1}/{len(stored.content)}",
    )
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.ok
    assert desk.plaintext(name, decrypt=decrypt) == data
    assert desk.names == [name]
    assert [type(error) for _, error, _ in desk.notes.retries] == [IntegrityError]


@pytest.mark.parametrize("missing", [1, 2])
async def test_missing_last_segments_are_caught(
    desk: Desk, decrypt: bool, missing: int, virtual_time: MockClock
) -> None:
    desk.file(5)
    stored = desk.archive.files["GHGAF01"]
    stored.content = stored.content[: -missing * CIPHER_SEGMENT_SIZE]
    error = await failed(desk, decrypt=decrypt)
    assert "sha256" in error.message
    assert desk.names == []


@pytest.mark.parametrize("cut", [1, CIPHER_SEGMENT_SIZE, 3 * CIPHER_SEGMENT_SIZE])
async def test_an_object_that_is_shorter_than_the_archive_says(
    desk: Desk, decrypt: bool, cut: int, virtual_time: MockClock
) -> None:
    desk.file(5)
    stored = desk.archive.files["GHGAF01"]
    stored.claims["size"] = len(stored.content)
    stored.content = stored.content[:-cut]
    (outcome,) = await desk.download(decrypt=decrypt)
    assert isinstance(outcome.error, IntegrityError | BrokenError)
    assert all(".part" in left for left in desk.names)


async def test_a_size_that_no_file_can_have(desk: Desk, decrypt: bool) -> None:
    desk.file(5)
    desk.archive.files["GHGAF01"].claims["size"] = CIPHER_SEGMENT_SIZE + 3
    assert "whole number" in (await failed(desk, decrypt=decrypt)).message
    assert desk.names == []


async def test_a_size_that_no_disk_can_hold(desk: Desk, decrypt: bool) -> None:
    desk.file(1)
    desk.archive.files["GHGAF01"].claims["size"] = CIPHER_SEGMENT_SIZE * 2**45
    (outcome,) = await desk.download(decrypt=decrypt)
    assert outcome.error is not None
    assert outcome.error.exit_code == 3
    assert desk.names == []


async def test_another_sha256_than_the_archives(desk: Desk, decrypt: bool, virtual_time: MockClock) -> None:
    desk.file(2.5)
    desk.archive.files["GHGAF01"].claims["checksums"] = [{"checksum": "ab" * 32, "type": "sha-256"}]
    assert "ab" * 32 in (await failed(desk, decrypt=decrypt)).message
    assert desk.names == []


async def test_without_a_sha256_a_file_could_not_be_verified(desk: Desk, decrypt: bool) -> None:
    desk.file(1)
    desk.archive.files["GHGAF01"].claims["checksums"] = [{"checksum": "ab" * 16, "type": "md5"}]
    assert "states no sha256" in (await failed(desk, decrypt=decrypt)).message
    assert desk.names == []


async def test_a_sha256_in_capitals_is_the_same(desk: Desk, virtual_time: MockClock) -> None:
    desk.file(1)
    digest = hashlib.sha256(desk.archive.files["GHGAF01"].plaintext).hexdigest().upper()
    desk.archive.files["GHGAF01"].claims["checksums"] = [{"checksum": digest, "type": "sha-256"}]
    (outcome,) = await desk.download()
    assert outcome.ok


async def test_an_envelope_for_another_key(desk: Desk, decrypt: bool) -> None:
    data = desk.file(1)
    other = KeyPair.of(b"o" * 32)
    desk.archive.files["GHGAF01"].sealed = seal(data, sender=b"s" * 32, recipient=other.public)
    assert "different key" in (await failed(desk, WrongKeyError, decrypt=decrypt)).message
    assert desk.names == []


async def test_the_envelope_of_another_file(desk: Desk, decrypt: bool, virtual_time: MockClock) -> None:
    data = desk.file(1)
    stored = desk.archive.files["GHGAF01"]
    other = seal(data, sender=b"s" * 32, recipient=desk.user.public)
    stored.sealed.content = other.content[:ENVELOPE] + stored.content
    assert "Segment 0" in (await failed(desk, decrypt=decrypt)).message
    assert desk.names == []


@pytest.mark.parametrize("body", [b'""', b'"AAAA"', b'"Y3J5cHQ0Z2gBAAAA/////w=="'])
async def test_an_envelope_that_is_none(desk: Desk, decrypt: bool, body: bytes) -> None:
    desk.file(1)
    desk.archive.fail("envelope", 200, body)
    await failed(desk, decrypt=decrypt)
    assert desk.names == []


async def test_an_envelope_with_more_behind_it(desk: Desk, decrypt: bool) -> None:
    desk.file(1)
    envelope = desk.archive.files["GHGAF01"].sealed.content[: ENVELOPE + 5]
    desk.archive.fail("envelope", 200, base64.b64encode(envelope).decode())
    assert "edit list" in (await failed(desk, decrypt=decrypt)).message
    assert desk.names == []


@pytest.mark.parametrize(
    ("accession", "extension"),
    [
        ("..", ""),
        ("../../etc/passwd", ""),
        ("GHGAF01", "/../../x"),
        ("GHGAF01", "\\..\\x"),
        (".hidden", ".bin"),
        ("GHGAF01", ".b\x1b[2Jin"),
        ("GHGAF01", ".bin\n"),
        ("con", ".txt"),
        ("a" * 300, ""),
        ("GHGA.26.123.1.a b/c:d (\u00fc)", ".bin"),
    ],
)
async def test_names_that_could_do_harm_become_safe(desk: Desk, decrypt: bool, accession: str, extension: str) -> None:
    desk.file(1, accession, extension=extension)
    (outcome,) = await desk.download(decrypt=decrypt)
    path = outcome.unwrap().path
    assert path.parent == desk.folder
    assert path.name.isprintable()
    assert not set(path.name) & set("/\\:")
    assert not path.name.startswith(".")
    assert {path.name for path in desk.folder.parent.iterdir()} <= {"out", desk.state.name}
    assert desk.names == [path.name]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GHGA.26.1.1.a/b", "GHGA.26.1.1.a:b"),
        ("GHGA.26.1.1.a", "GHGA.26.1.1.A"),
        ("GHGA.26.1.1.\u00fc", "GHGA.26.1.1.u\u0308"),
    ],
)
async def test_names_that_would_collide_are_told_before_anything_is_fetched(
    desk: Desk, decrypt: bool, first: str, second: str
) -> None:
    desk.file(1, first)
    desk.file(1, second)
    desk.file(1, "other")
    with pytest.raises(UsageError, match="same file") as caught:
        await desk.download(decrypt=decrypt)
    assert first in caught.value.message
    assert second in caught.value.message
    assert desk.archive.counts["order"] == desk.archive.counts["object"] == 0
    assert len(await desk.download(first, "other", decrypt=decrypt)) == 2


async def test_a_name_that_a_working_file_of_another_has(desk: Desk) -> None:
    desk.file(1, "GHGAF01", extension="")
    desk.file(1, "GHGAF01.PART", extension="")
    with pytest.raises(UsageError, match="same file"):
        await desk.download(decrypt=True)


async def test_a_file_that_an_earlier_run_fetched_under_another_accession(desk: Desk, decrypt: bool) -> None:
    """Of the same size, it would pass for the other by name and size alone."""
    desk.file(1, "GHGA.26.1.1.a/b")
    desk.file(1, "GHGA.26.1.1.a:b")
    (outcome,) = await desk.download("GHGA.26.1.1.a/b", decrypt=decrypt)
    assert outcome.ok
    (outcome,) = await desk.download("GHGA.26.1.1.a:b", decrypt=decrypt)
    assert isinstance(outcome.error, FileExistsAlready)
    assert "GHGA.26.1.1.a/b" in outcome.error.message
    (outcome,) = await desk.download("GHGA.26.1.1.a:b", decrypt=decrypt, overwrite=True)
    assert outcome.unwrap().already_there is None


Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_accessions_are_compared_in_one_unicode_form(desk: Desk, form: Form) -> None:
    desk.file(1, unicodedata.normalize(form, "GHGA.26.1.1.Pr\u00fcfung"))
    named: Form
    for named in ("NFC", "NFD"):
        (outcome,) = await desk.download(unicodedata.normalize(named, "GHGA.26.1.1.Pr\u00fcfung"))
        assert outcome.unwrap().accession == unicodedata.normalize(form, "GHGA.26.1.1.Pr\u00fcfung")
    assert desk.names == [unicodedata.normalize("NFC", "GHGA.26.1.1.Pr\u00fcfung.bin.c4gh")]


async def test_an_archive_without_the_file_that_it_granted(desk: Desk, decrypt: bool) -> None:
    desk.file(1)
    desk.archive.fail("object", 404, {"exception_id": "noSuchObject", "description": "gone", "data": {}})
    error = await failed(desk, RefusedError, decrypt=decrypt)
    assert "gone" in error.message
    assert desk.names == []


async def test_an_object_that_is_another_one_all_of_a_sudden(
    desk: Desk, decrypt: bool, virtual_time: MockClock
) -> None:
    desk.file(6)

    def swap(label: str) -> None:
        stored = desk.archive.files["GHGAF01"]
        desk.archive.add_file("GHGAF01", stored.plaintext[:-1])
        desk.archive.fail("get", 403)

    desk.notes.on_opened = swap
    assert "changed" in (await failed(desk, decrypt=decrypt)).message
    assert all(".part" in left for left in desk.names)
