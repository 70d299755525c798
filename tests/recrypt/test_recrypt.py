"""Encrypting and decrypting local files: the same bytes come back, and nothing else ever gets a final name."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crypt4gh.header
import crypt4gh.lib
import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, HEADER_SIZE, SEGMENT_SIZE, sealed_size
from connector.errors import ConnectorError, FileExistsAlready, IntegrityError, LocalError, UsageError
from connector.local.files import SourceChangedError
from connector.recrypt import RecryptedFile, RecryptRequest, decrypt_files, encrypt_files
from connector.transfer import Outcome
from tests.support.contract_client import seal, unseal
from tests.support.fake_session import open_descriptors
from tests.support.observers import Notes

pytestmark = pytest.mark.trio

ALICE, BOB, EVE = (KeyPair.of(bytes([n]) * 32) for n in (1, 2, 3))
SEGMENTS = 3
SETTINGS = Settings(part_size=SEGMENTS * CIPHER_SEGMENT_SIZE)
PART = SEGMENTS * SEGMENT_SIZE
"""Plaintext bytes in a part of a decryption."""
SEALED_PART = SEGMENTS * CIPHER_SEGMENT_SIZE
LAST = SEALED_PART - HEADER_SIZE - (SEGMENTS - 1) * 28 - 28
"""Plaintext bytes with which an encryption is exactly one part."""
SIZES = [0, 1, 65535, 65536, 65537, PART - 1, PART, PART + 1, LAST - 1, LAST, LAST + 1, 5 * PART + 7]
LARGE = Settings()
"""Parts of the usual size, which are read, treated and written in pieces of 64 segments."""
PIECE = 64 * SEGMENT_SIZE
LARGE_SIZES = [
    PIECE - 1,
    PIECE,
    PIECE + 1,
    PIECE - HEADER_SIZE,
    128 * SEGMENT_SIZE - 1,
    128 * SEGMENT_SIZE,
    3 * PIECE + 1,
]
CRYPT4GH = Path(sysconfig.get_path("scripts"), "crypt4gh")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def encrypt(
    path: Path,
    *,
    recipients: Sequence[KeyPair] = (BOB,),
    overwrite: bool = False,
    notes: Notes | None = None,
    settings: Settings = SETTINGS,
) -> Outcome[RecryptedFile]:
    (outcome,) = await encrypt_files(
        settings,
        ALICE.private,
        [keys.public for keys in recipients],
        [RecryptRequest(path, Path(f"{path}.c4gh"))],
        overwrite=overwrite,
        observer=notes,
    )
    return outcome


async def decrypt(
    path: Path,
    *,
    keys: KeyPair = BOB,
    overwrite: bool = False,
    notes: Notes | None = None,
    settings: Settings = SETTINGS,
) -> Outcome[RecryptedFile]:
    (outcome,) = await decrypt_files(
        settings,
        keys.private,
        [RecryptRequest(path, path.with_name("opened"))],
        overwrite=overwrite,
        observer=notes,
    )
    return outcome


def failure(outcome: Outcome[RecryptedFile]) -> ConnectorError:
    assert outcome.error is not None
    return outcome.error


def sealed(folder: Path, data: bytes) -> Path:
    """A file that somebody else has encrypted for Bob, from a specification of its own."""
    path = folder / "sealed.c4gh"
    path.write_bytes(seal(data, sender=ALICE.private, recipient=BOB.public).content)
    return path


@pytest.mark.parametrize("size", SIZES)
async def test_what_we_encrypt_others_can_decrypt(tmp_path: Path, size: int) -> None:
    path = tmp_path / "plain"
    path.write_bytes(noise(size))
    notes = Notes()
    done = (await encrypt(path, notes=notes)).unwrap()
    content = done.target.read_bytes()
    assert len(content) == done.size == HEADER_SIZE + sealed_size(size)
    assert unseal(content[:HEADER_SIZE], content[HEADER_SIZE:], BOB.private) == noise(size)
    assert notes.sizes == notes.through == {"plain": done.size}
    assert sorted(os.listdir(tmp_path)) == ["plain", "plain.c4gh"]


@pytest.mark.parametrize("size", SIZES)
async def test_what_others_encrypt_we_can_decrypt(tmp_path: Path, size: int) -> None:
    notes = Notes()
    done = (await decrypt(sealed(tmp_path, noise(size)), notes=notes)).unwrap()
    assert done.target.read_bytes() == noise(size)
    assert done.size == size
    assert notes.through.get("sealed.c4gh", 0) == notes.sizes["sealed.c4gh"]
    assert sorted(os.listdir(tmp_path)) == ["opened", "sealed.c4gh"]


@pytest.mark.parametrize("size", LARGE_SIZES)
async def test_parts_of_several_pieces_come_out_the_same_both_ways(tmp_path: Path, size: int) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(noise(size))
    content = (await encrypt(plain, settings=LARGE)).unwrap().target.read_bytes()
    assert unseal(content[:HEADER_SIZE], content[HEADER_SIZE:], BOB.private) == noise(size)
    done = (await decrypt(sealed(tmp_path, noise(size)), settings=LARGE)).unwrap()
    assert done.target.read_bytes() == noise(size)


@pytest.mark.parametrize("segment", [15, 16, 40])
async def test_damage_in_a_later_piece_is_named_by_its_place_in_the_file(tmp_path: Path, segment: int) -> None:
    path = sealed(tmp_path, noise(50 * SEGMENT_SIZE))
    content = bytearray(path.read_bytes())
    start = segment * CIPHER_SEGMENT_SIZE
    content[HEADER_SIZE + start + 500] ^= 1
    path.write_bytes(content)
    error = failure(await decrypt(path, settings=LARGE))
    assert f"Segment {segment} (bytes {start} to {start + CIPHER_SEGMENT_SIZE} of" in error.message
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


async def test_an_edit_list_reaches_across_pieces(tmp_path: Path) -> None:
    data = noise(5 * PIECE)
    part = tmp_path / "part.c4gh"
    with sealed(tmp_path, data).open("rb") as source, part.open("wb") as target:
        crypt4gh.lib.rearrange([(0, BOB.private, BOB.public)], source, target, offset=PIECE - 5, span=3 * PIECE + 11)
    done = (await decrypt(part, settings=LARGE)).unwrap()
    assert done.target.read_bytes() == data[PIECE - 5 : 4 * PIECE + 6]


async def test_no_two_encryptions_are_alike(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(bytes(4 * SEGMENT_SIZE))
    contents = []
    for _ in range(2):
        target = (await encrypt(path)).unwrap().target
        contents.append(target.read_bytes())
        target.unlink()
    pieces = [
        content[start : start + 12]
        for content in contents
        for start in range(HEADER_SIZE, len(content), CIPHER_SEGMENT_SIZE)
    ]
    assert len(set(pieces)) == len(pieces), "no nonce is ever used twice"


async def test_each_of_several_recipients_can_decrypt(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(noise(PART + 1))
    done = (await encrypt(path, recipients=[BOB, ALICE])).unwrap()
    for keys in (ALICE, BOB):
        opened = (await decrypt(done.target, keys=keys)).unwrap()
        assert opened.target.read_bytes() == noise(PART + 1)
        opened.target.unlink()
    assert isinstance(failure(await decrypt(done.target, keys=EVE)), IntegrityError)


async def test_an_envelope_for_very_many_recipients(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"x")
    crowd = [KeyPair.of(os.urandom(32)) for _ in range(100)]
    done = (await encrypt(path, recipients=[*crowd, BOB])).unwrap()
    assert (await decrypt(done.target)).unwrap().target.read_bytes() == b"x"


async def test_a_wrong_key_opens_nothing(tmp_path: Path) -> None:
    outcome = await decrypt(sealed(tmp_path, noise(10)), keys=EVE)
    assert "different key" in failure(outcome).message
    assert failure(outcome).exit_code == 6
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


@pytest.mark.parametrize("segment", [0, 2, 3, 6])
async def test_a_damaged_segment_is_named_and_nothing_is_kept(tmp_path: Path, segment: int) -> None:
    path = sealed(tmp_path, noise(6 * SEGMENT_SIZE + 10))
    content = bytearray(path.read_bytes())
    start = segment * CIPHER_SEGMENT_SIZE
    size = min(CIPHER_SEGMENT_SIZE, len(content) - HEADER_SIZE - start)
    content[HEADER_SIZE + start + 20] ^= 1
    path.write_bytes(content)
    error = failure(await decrypt(path))
    assert type(error) is IntegrityError
    assert f"Segment {segment} (bytes {start} to {start + size} " in error.message
    assert str(path) in error.message
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (1, "is damaged"),
        (CIPHER_SEGMENT_SIZE - 5, "whole number"),
        (3 * CIPHER_SEGMENT_SIZE + 50, "ends too early"),
    ],
)
async def test_a_file_that_is_cut_is_refused(tmp_path: Path, cut: int, words: str) -> None:
    path = sealed(tmp_path, noise(3 * SEGMENT_SIZE))
    os.truncate(path, path.stat().st_size - cut)
    error = failure(await decrypt(path))
    assert type(error) is IntegrityError
    assert words in error.message
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


@pytest.mark.parametrize(
    "content", [b"", b"c", b"hello world", b"crypt4gh", bytes(1000), b"crypt4gh\x01\0\0\0\xff\xff\xff\xff" * 9]
)
async def test_a_file_that_is_no_crypt4gh_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.c4gh"
    path.write_bytes(content)
    assert isinstance(failure(await decrypt(path)), IntegrityError)
    assert os.listdir(tmp_path) == ["x.c4gh"]


@pytest.mark.parametrize("job", [encrypt, decrypt])
async def test_a_target_that_exists_is_kept_unless_told_otherwise(tmp_path: Path, job: Any) -> None:
    path = sealed(tmp_path, b"new")
    target = tmp_path / ("sealed.c4gh.c4gh" if job is encrypt else "opened")
    target.write_bytes(b"precious")
    assert isinstance(failure(await job(path)), FileExistsAlready)
    assert target.read_bytes() == b"precious"
    assert (await job(path, overwrite=True)).ok
    assert target.read_bytes() != b"precious"
    assert len(os.listdir(tmp_path)) == 2


async def test_a_failure_to_overwrite_keeps_what_was_there(tmp_path: Path) -> None:
    path = sealed(tmp_path, noise(4 * PART))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (tmp_path / "opened").write_bytes(b"precious")
    assert not (await decrypt(path, overwrite=True)).ok
    assert (tmp_path / "opened").read_bytes() == b"precious"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("job", [encrypt, decrypt])
async def test_a_source_that_changes_is_not_taken(tmp_path: Path, job: Any) -> None:
    path = sealed(tmp_path, noise(4 * PART))
    notes = Notes()
    notes.on_opened = lambda label: os.utime(path)
    assert isinstance(failure(await job(path, notes=notes)), SourceChangedError)
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


@pytest.mark.parametrize("job", [encrypt, decrypt])
async def test_a_source_that_is_cut_while_it_is_read_is_not_taken(tmp_path: Path, job: Any) -> None:
    path = sealed(tmp_path, noise(4 * PART))
    notes = Notes()
    notes.on_opened = lambda label: os.truncate(path, 1000)
    assert isinstance(failure(await job(path, notes=notes)), SourceChangedError)
    assert os.listdir(tmp_path) == ["sealed.c4gh"]


@pytest.mark.parametrize("job", [encrypt, decrypt])
async def test_cancelled_in_the_middle_nothing_is_left(tmp_path: Path, job: Any) -> None:
    path = sealed(tmp_path, noise(40 * PART))
    notes = Notes()
    with trio.CancelScope() as scope:
        notes.on_progress = lambda label: scope.cancel()
        await job(path, notes=notes)
    assert scope.cancelled_caught
    assert 0 < notes.through["sealed.c4gh"] < notes.sizes["sealed.c4gh"]
    assert os.listdir(tmp_path) == ["sealed.c4gh"]
    assert not [name for name in open_descriptors() if str(tmp_path) in name]


@pytest.mark.parametrize("job", [encrypt, decrypt])
async def test_a_source_that_cannot_be_read(tmp_path: Path, job: Any) -> None:
    assert isinstance(failure(await job(tmp_path / "missing")), LocalError)
    (tmp_path / "folder").mkdir()
    assert isinstance(failure(await job(tmp_path / "folder")), UsageError)
    assert os.listdir(tmp_path) == ["folder"]


async def test_one_failure_among_many_leaves_the_others_alone(tmp_path: Path) -> None:
    requests = []
    for number in range(20):
        path = tmp_path / f"{number}.c4gh"
        keys = EVE if number == 7 else BOB
        path.write_bytes(seal(noise(number * 10_000), sender=ALICE.private, recipient=keys.public).content)
        requests.append(RecryptRequest(path, tmp_path / f"{number}"))
    outcomes = await decrypt_files(SETTINGS, BOB.private, requests)
    assert [outcome.ok for outcome in outcomes] == [number != 7 for number in range(20)]
    assert [outcome.label for outcome in outcomes] == [f"{number}.c4gh" for number in range(20)]
    for number in set(range(20)) - {7}:
        assert (tmp_path / f"{number}").read_bytes() == noise(number * 10_000)
    assert not (tmp_path / "7").exists()


async def test_two_files_for_one_target_do_not_get_mixed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(
            seal(name.encode() * 3 * PART, sender=ALICE.private, recipient=BOB.public).content
        )
    target = tmp_path / "opened"
    outcomes = await decrypt_files(
        SETTINGS, BOB.private, [RecryptRequest(tmp_path / name, target) for name in ("a", "b")], overwrite=False
    )
    assert sorted(outcome.ok for outcome in outcomes) == [False, True]
    assert target.read_bytes() in (b"a" * 3 * PART, b"b" * 3 * PART)


@pytest.mark.skipif(not CRYPT4GH.exists(), reason="no crypt4gh beside this interpreter")
@pytest.mark.parametrize(
    "span",
    ["0-10", "1-3", "65530-65540", "65536-131072", f"100-{PART + 100}", f"{PART}-{2 * PART}", f"{PART + 5}-{3 * PART}"],
)
async def test_an_edit_list_is_obeyed(tmp_path: Path, span: str) -> None:
    data = noise(3 * PART + 11)
    whole, part, key = sealed(tmp_path, data), tmp_path / "part.c4gh", tmp_path / "bob.sec"
    key.write_bytes(private_pem(BOB))
    part.write_bytes(run(["rearrange", "--sk", key, "--range", span], whole))
    expected = run(["decrypt", "--sk", key], part)
    assert len(expected) < len(data)
    assert expected in data
    done = (await decrypt(part)).unwrap()
    assert done.target.read_bytes() == expected
    assert done.size == len(expected)


@pytest.mark.parametrize("start", [1, 65535, 65536, PART, 2 * PART + 77])
async def test_an_edit_list_without_an_end_keeps_all_the_rest(tmp_path: Path, start: int) -> None:
    data = noise(3 * PART + 11)
    part = tmp_path / "part.c4gh"
    with sealed(tmp_path, data).open("rb") as source, part.open("wb") as target:
        crypt4gh.lib.rearrange([(0, BOB.private, BOB.public)], source, target, offset=start)
    assert (await decrypt(part)).unwrap().target.read_bytes() == data[start:]


@pytest.mark.parametrize(("offset", "span"), [(50, 51), (50, 10**9), (99, 1), (100, 5)])
async def test_an_edit_list_that_reaches_beyond_the_end_keeps_what_is_there(
    tmp_path: Path, offset: int, span: Any
) -> None:
    part = tmp_path / "part.c4gh"
    with sealed(tmp_path, noise(100)).open("rb") as source, part.open("wb") as target:
        crypt4gh.lib.rearrange([(0, BOB.private, BOB.public)], source, target, offset=offset, span=span)
    assert (await decrypt(part)).unwrap().target.read_bytes() == noise(100)[offset : offset + span]


async def test_a_header_of_megabytes_is_read(tmp_path: Path) -> None:
    """An edit list that keeps every second byte, and padding of any length."""
    packets = [
        crypt4gh.header.make_packet_data_enc(0, b"k" * 32) + bytes(1_500_000),
        crypt4gh.header.make_packet_data_edit_list([1] * 40_000),
    ]
    keys = [(0, ALICE.private, BOB.public)]
    header = crypt4gh.header.serialize(p for packet in packets for p in crypt4gh.header.encrypt(packet, keys))
    data, path = noise(40_000), tmp_path / "x.c4gh"
    segments = (data[start : start + SEGMENT_SIZE] for start in range(0, len(data), SEGMENT_SIZE))
    cipher = ChaCha20Poly1305(b"k" * 32)
    path.write_bytes(header + b"".join(bytes(12) + cipher.encrypt(bytes(12), piece, None) for piece in segments))
    assert (await decrypt(path)).unwrap().target.read_bytes() == data[1::2]


async def test_one_of_several_private_keys_will_do(tmp_path: Path) -> None:
    path = sealed(tmp_path, noise(1000))
    request = RecryptRequest(path, tmp_path / "opened")
    (outcome,) = await decrypt_files(SETTINGS, EVE.private, [request], more_private_keys=[BOB.private])
    assert outcome.unwrap().target.read_bytes() == noise(1000)


def run(arguments: list[str | Path], path: Path) -> bytes:
    with path.open("rb") as source:
        return subprocess.run([CRYPT4GH, *arguments], stdin=source, capture_output=True, check=True).stdout


def private_pem(keys: KeyPair) -> bytes:
    body = base64.b64encode(b"c4gh-v1\x00\x04none\x00\x04none\x00\x20" + keys.private)
    return b"-----BEGIN CRYPT4GH PRIVATE KEY-----\n" + body + b"\n-----END CRYPT4GH PRIVATE KEY-----\n"
