"""Crypt4GH files of every kind, read by us and by `crypt4gh` 1.8: accepted and refused alike, with the same plaintext.

Where the two differ, the specification decides (hts-specs, crypt4gh.pdf): `Difference` lists all of it, with the
section, and docs/reliability.md repeats the list.
"""

from __future__ import annotations

import enum
import io
import logging
import random
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attrs
import crypt4gh.header
import crypt4gh.lib
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import strategies as st
from nacl.bindings import crypto_kx_server_session_keys

from connector.crypt4gh.edit_list import kept_ranges, kept_size, map_to_result, needed_segments
from connector.crypt4gh.keys import KeyPair, open_header
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE, SegmentDecryptor
from connector.errors import IntegrityError
from connector.recrypt import decrypt_pipe
from tests.fuzz.conftest import Fuzz
from tests.support.pipe_memory import MemoryReader, MemoryWriter

WRITER, READER, OTHER, STRANGER = (KeyPair.of(bytes([n]) * 32) for n in (1, 2, 3, 4))
KEYS = [bytes([n]) * 32 for n in (5, 6, 7)]
"""Data keys; the segments of a file are encrypted with the first two in turn, or with the first."""
PLAIN = random.Random(1).randbytes(4 * SEGMENT_SIZE + 100)
SIZES = [0, 1, 100, SEGMENT_SIZE - 1, SEGMENT_SIZE, SEGMENT_SIZE + 1, 2 * SEGMENT_SIZE, 3 * SEGMENT_SIZE + 77]


class Difference(enum.Enum):
    """Why we read a file that `crypt4gh` 1.8.6 refuses, or the other way round."""

    EMPTY_LIST = "4, Edit List: IsEmpty(edlist), the trivial case with no edit list; crypt4gh fails (AssertionError)"
    KEEPS_NOTHING = "4, Edit List: substr of length 0 is empty; crypt4gh fails (AssertionError)"
    HUGE_LENGTH = "3.2.4: lengths are le_uint64; crypt4gh fails at 2**63 and above (OverflowError)"
    NO_DATA_KEY = "3.3.3, Reading the header, and 2.4: an error MUST be raised without a data key; it needs none here"
    SHORT_KEY = "3.2.3: data_key has 32 bytes; crypt4gh reads memory behind it, and passes if another key fits"
    CUT_LENGTH = "3.2.1: packet_length is le_uint32; crypt4gh takes a cut off 4 (one byte) for an empty packet"
    SKIPPED = "4.1: the segment(s) enclosing the requested byte range; crypt4gh also decrypts some that are skipped"


OUR_REASONS = {
    "holds no data key": Difference.NO_DATA_KEY,
    "its data key has": Difference.SHORT_KEY,
    "ends too early": Difference.CUT_LENGTH,
}
"""What we say where we refuse and the other one reads."""


@attrs.frozen
class File:
    """A Crypt4GH file, and for which differences we may read it and the other one refuse."""

    data: bytes
    may: frozenset[Difference]


@cache
def body(size: int, keys: int) -> bytes:
    starts = range(0, size, SEGMENT_SIZE)
    nonce = bytes(12)
    sealed = (
        nonce + ChaCha20Poly1305(KEYS[n % keys]).encrypt(nonce, PLAIN[start : min(start + SEGMENT_SIZE, size)], None)
        for n, start in enumerate(starts)
    )
    return b"".join(sealed)


@attrs.frozen
class Packet:
    """What is in a header packet before it is encrypted."""

    content: bytes
    may: frozenset[Difference] = frozenset()


def little(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def edit_list(lengths: Sequence[int], padding: bytes) -> Packet:
    may = {Difference.EMPTY_LIST} if not lengths else set()
    if 0 in lengths[1::2]:
        may.add(Difference.KEEPS_NOTHING)
    if max(lengths, default=0) >= 2**63:
        may.add(Difference.HUGE_LENGTH)
    return Packet(little(1, len(lengths)) + struct.pack(f"<{len(lengths)}Q", *lengths) + padding, frozenset(may))


def claimed_list(count: int, rest: bytes) -> Packet:
    """An edit list of which fewer lengths are there than it claims, or more."""
    there = [int.from_bytes(rest[at : at + 8], "little") for at in range(0, 8 * count, 8)]
    return attrs.evolve(edit_list(there, b""), content=little(1, count) + rest)


def data_key(key: bytes, method: int, padding: bytes) -> Packet:
    short = len(key) + len(padding) < 32
    return Packet(little(0, method) + key + padding, frozenset({Difference.SHORT_KEY} if short else ()))


paddings = st.just(b"") | st.binary(max_size=40) | st.integers(1, 5000).map(bytes)
near = st.sampled_from([0, 1, SEGMENT_SIZE, 2 * SEGMENT_SIZE, 3 * SEGMENT_SIZE]).flatmap(
    lambda size: st.integers(max(0, size - 2), size + 2)
)
lengths = near | st.integers(0, 4 * SEGMENT_SIZE) | st.sampled_from([2**32, 2**63, 2**64 - 1])
good_keys = st.builds(data_key, st.sampled_from(KEYS[:2]), st.just(0), paddings)
edit_lists = st.builds(edit_list, st.lists(lengths, max_size=7), paddings)
odd_packets = (
    st.builds(data_key, st.binary(max_size=40), st.sampled_from([0, 0, 0, 1, 2**32 - 1]), paddings)
    | st.builds(data_key, st.just(KEYS[2]), st.just(0), paddings)
    | st.builds(claimed_list, st.integers(0, 5), st.binary(max_size=48))
    | st.binary(max_size=3).map(lambda content: Packet(little(1) + content))
    | st.binary(max_size=60).filter(lambda content: content[:4] not in (little(0), little(1))).map(Packet)
)


def encrypted(packet: Packet, reader: KeyPair) -> bytes:
    _, shared = crypto_kx_server_session_keys(WRITER.public, WRITER.private, reader.public)
    nonce = bytes(12)
    return little(0) + WRITER.public + nonce + ChaCha20Poly1305(shared).encrypt(nonce, packet.content, None)


readers = st.sampled_from([READER, READER, READER, OTHER, STRANGER])


@st.composite
def files(draw: st.DrawFn) -> File:
    packets = draw(st.lists(good_keys, min_size=draw(st.integers(0, 1)), max_size=2))
    packets += draw(st.lists(edit_lists, max_size=draw(st.sampled_from([0, 1, 1, 1, 2]))))
    packets += draw(st.lists(odd_packets, max_size=draw(st.sampled_from([0, 0, 0, 1]))))
    sealed = [(encrypted(packet, draw(readers)), packet.may) for packet in draw(st.permutations(packets))]
    sealed += [(raw, frozenset()) for raw in draw(st.lists(st.binary(max_size=90), max_size=draw(st.integers(0, 1))))]
    # A file of one key has segments of the first alone.
    size, keys = draw(st.sampled_from(SIZES)), draw(st.integers(1, 2))
    header = crypt4gh.header.serialize([raw for raw, _ in sealed]) if sealed else b"crypt4gh" + little(1, 0)
    data = bytearray(header + body(size, keys))
    may = set[Difference]().union(*(differences for _, differences in sealed))
    if any(packet.content[:4] == little(1) for packet in packets):
        may.add(Difference.SKIPPED)  # the reader may have one key of two
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        where = draw(st.integers(0, len(header) - 1) | st.integers(0, max(0, len(data) - 1)))
        if draw(st.booleans()) and where < len(data):
            data[where] ^= draw(st.integers(1, 255))
        else:
            del data[where:]
        may.add(Difference.SKIPPED)
    return File(bytes(data), frozenset(may))


def theirs(data: bytes, keys: Sequence[KeyPair]) -> bytes | Exception:
    """What `crypt4gh` decrypts, or why it does not."""
    out = io.BytesIO()
    try:
        crypt4gh.lib.decrypt([(0, pair.private, None) for pair in keys], io.BytesIO(data), out)
    except Exception as error:
        return error
    return out.getvalue()


def ours(data: bytes, keys: Sequence[KeyPair]) -> bytes | IntegrityError:
    """What we decrypt, or why we do not: by pipe, and as files are decrypted, part by part."""
    out, private = MemoryWriter(), [pair.private for pair in keys]
    try:
        for _ in decrypt_pipe(MemoryReader(data), out, private):  # type: ignore[arg-type]
            pass
    except IntegrityError as error:
        with pytest.raises(IntegrityError):
            by_parts(data, private)
        return error
    assert by_parts(data, private) == out.data
    return bytes(out.data)


def difference(file: File, we: bytes | IntegrityError, they: bytes | Exception) -> Difference | None:
    """Why one reads it and the other one does not, `None` for no good reason."""
    if isinstance(we, IntegrityError):
        return next((found for reason, found in OUR_REASONS.items() if reason in we.message), None)
    if isinstance(they, ValueError) and "Could not decrypt that block" in str(they):
        return Difference.SKIPPED if Difference.SKIPPED in file.may else None
    kinds = {Difference.HUGE_LENGTH} if isinstance(they, OverflowError) else set(Difference) - {Difference.HUGE_LENGTH}
    return min(file.may & kinds, key=str, default=None) if isinstance(they, AssertionError | OverflowError) else None


def by_parts(data: bytes, private_keys: Sequence[bytes]) -> bytes:
    header = open_header(data, *private_keys)
    content = memoryview(bytearray(data[header.size :]))
    ranges = kept_ranges(header.edit_list)
    decryptor = SegmentDecryptor(header.session_keys)
    result = bytearray(kept_size(ranges, len(content)))
    step = 2 * CIPHER_SEGMENT_SIZE
    for start in reversed(range(0, len(content), step)):  # in any order
        for run in needed_segments(ranges, start // CIPHER_SEGMENT_SIZE, 2):
            sealed = content[run.start * CIPHER_SEGMENT_SIZE : run.stop * CIPHER_SEGMENT_SIZE]
            for offset, pieces in map_to_result(ranges, decryptor.open_part(sealed), run.start):
                for piece in pieces:
                    result[offset : offset + len(piece)] = piece
                    offset += len(piece)
    return bytes(result)


def test_files_are_read_as_crypt4gh_reads_them(fuzz: Fuzz) -> None:
    seen: dict[str, int] = {}
    logging.getLogger("crypt4gh").setLevel(logging.CRITICAL + 1)  # an error for each packet of another reader

    def check(file: File) -> None:
        for keys in ([READER], [READER, OTHER]):
            we, they = ours(file.data, keys), theirs(file.data, keys)
            verdict = ", ".join("reads" if isinstance(result, bytes) else "refuses" for result in (we, they))
            if isinstance(we, bytes) != isinstance(they, bytes):
                found = difference(file, we, they)
                assert found is not None, (verdict, we, they)
                verdict = found.name
            elif isinstance(we, bytes):
                assert we == they
            seen[verdict] = seen.get(verdict, 0) + 1

    assert fuzz(files(), check) > 20
    print(seen)
    assert seen.get("reads, reads", 0) > 10
    assert seen.get("refuses, refuses", 0) > 5


def test_every_difference_is_documented() -> None:
    table = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    for difference in Difference:
        section, _, quoted = difference.value.partition(": ")
        assert section.split(",")[0] in table, difference
        assert quoted
