from __future__ import annotations

import io
import struct
import time
from contextlib import suppress

import pytest
from crypt4gh import header as crypt4gh_header
from crypt4gh import lib as crypt4gh_lib
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from connector.crypt4gh.keys import (
    MAX_HEADER_SIZE,
    MAX_LOCAL_HEADER_SIZE,
    OpenedHeader,
    header_size,
    is_crypt4gh,
    make_header,
    open_header,
)
from connector.crypt4gh.segments import HEADER_SIZE, SegmentDecryptor
from connector.errors import ConnectorError, IntegrityError, UsageError

KEY = bytes(range(32))
WRITER, READER, STRANGER = PrivateKey(b"w" * 32), PrivateKey(b"r" * 32), PrivateKey(b"s" * 32)
PREFIX = b"crypt4gh" + struct.pack("<I", 1)


def public(key: PrivateKey) -> bytes:
    return bytes(key.public_key)


def envelope(*readers: PrivateKey, key: bytes = KEY) -> bytes:
    return make_header(key, sender_private_key=bytes(WRITER), recipient_public_keys=[public(r) for r in readers])


def crypt4gh_envelope(*packets: bytes, reader: PrivateKey = READER) -> bytes:
    """An envelope by the independent package, of packets that are given in clear."""
    keys = [(0, bytes(WRITER), public(reader))]
    return bytes(crypt4gh_header.serialize(sealed for p in packets for sealed in crypt4gh_header.encrypt(p, keys)))


def data_key(key: bytes = KEY, method: int = 0) -> bytes:
    return bytes(crypt4gh_header.make_packet_data_enc(method, key))


def edit_list(*lengths: int) -> bytes:
    return bytes(crypt4gh_header.make_packet_data_edit_list(lengths))


def test_one_recipient_makes_the_124_bytes_that_the_contract_counts_on() -> None:
    made = envelope(READER)
    assert len(made) == HEADER_SIZE == 124
    assert made.startswith(PREFIX + struct.pack("<II", 1, 108))


@pytest.mark.parametrize("reader", [0, 1, 2])
def test_crypt4gh_reads_ours_as_any_of_the_recipients(reader: int) -> None:
    readers = [PrivateKey(bytes([i]) * 32) for i in (1, 2, 3)]
    stream = io.BytesIO(envelope(*readers) + b"content")
    keys, edits = crypt4gh_header.deconstruct(stream, [(0, bytes(readers[reader]), None)], public(WRITER))
    assert (keys, edits) == ([KEY], None)
    assert stream.read() == b"content"


def test_we_read_a_file_that_crypt4gh_wrote() -> None:
    out, plain = io.BytesIO(), b"ACGT" * 30_000
    keys = [(0, bytes(WRITER), public(STRANGER)), (0, bytes(WRITER), public(READER))]
    crypt4gh_lib.encrypt(keys, io.BytesIO(plain), out)
    opened = open_header(out.getvalue(), bytes(READER))
    content = memoryview(bytearray(out.getvalue()[opened.size :]))
    assert b"".join(SegmentDecryptor(opened.session_keys).open_part(content)) == plain


@pytest.mark.parametrize("reader", [READER, STRANGER])
def test_each_recipient_gets_the_key_and_what_follows_is_left(reader: PrivateKey) -> None:
    made = envelope(READER, STRANGER)
    assert open_header(made + b"content", bytes(reader)) == OpenedHeader(len(made), (KEY,), ())
    assert header_size(made + b"content") == len(made) == 16 + 2 * 108


def test_all_data_keys_for_the_reader_are_found_in_order() -> None:
    made = crypt4gh_envelope(data_key(b"1" * 32), data_key(b"2" * 32))
    assert open_header(made, bytes(READER)).session_keys == (b"1" * 32, b"2" * 32)


@pytest.mark.parametrize("lengths", [(0,), (65_535, 10), (1, 2, 3), (0, 2**64 - 1)])
def test_an_edit_list_is_read_as_crypt4gh_reads_it(lengths: tuple[int, ...]) -> None:
    made = crypt4gh_envelope(data_key(), edit_list(*lengths))
    _, theirs = crypt4gh_header.deconstruct(io.BytesIO(made), [(0, bytes(READER), None)])
    assert open_header(made, bytes(READER)).edit_list == lengths == tuple(theirs)


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ([data_key(), edit_list(1), edit_list(1)], "two edit lists"),
        ([data_key(), edit_list(1, 2)[:-1]], "edit list"),
        ([data_key(), b"\1\0\0\0\xff\xff\xff\xff"], "edit list"),
        ([data_key(), b"\1\0\0\0\0"], "edit list"),
        ([edit_list(1)], "no data key"),
        ([data_key(b"short")], "data key has 5 bytes"),
        ([data_key(method=1)], "unknown method"),
        ([data_key(), b"\2\0\0\0whatever"], "unknown kind"),
        ([b"\0"], "unknown kind"),
    ],
)
def test_packets_that_make_no_sense_are_refused(packets: list[bytes], why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        open_header(crypt4gh_envelope(*packets), bytes(READER))


@pytest.mark.parametrize("padding", [b"\0", bytes(8), b"p" * 5000])
def test_packets_may_be_padded(padding: bytes) -> None:
    made = crypt4gh_envelope(edit_list(5, 6) + padding, data_key() + padding)
    assert open_header(made, bytes(READER)) == OpenedHeader(len(made), (KEY,), (5, 6))


@pytest.mark.parametrize("empty", [edit_list(), edit_list() + bytes(40), b"\1\0\0\0"])
def test_an_empty_edit_list_is_as_none(empty: bytes) -> None:
    assert open_header(crypt4gh_envelope(data_key(), empty), bytes(READER)).edit_list == ()
    with pytest.raises(IntegrityError, match="two edit lists"):
        open_header(crypt4gh_envelope(data_key(), empty, edit_list(1)), bytes(READER))


def test_each_of_several_private_keys_is_tried_on_each_packet() -> None:
    first, second = (crypt4gh_envelope(data_key(key * 32), reader=r) for key, r in ((b"1", READER), (b"2", STRANGER)))
    made = PREFIX + struct.pack("<I", 2) + first[16:] + second[16:]
    for keys in ([READER, STRANGER], [STRANGER, READER], [WRITER, STRANGER, READER]):
        assert open_header(made, *map(bytes, keys)).session_keys == (b"1" * 32, b"2" * 32)
    with pytest.raises(IntegrityError, match="any of yours"):
        open_header(envelope(WRITER), bytes(READER), bytes(STRANGER))


def test_a_large_header_is_read_where_that_is_allowed() -> None:
    made = crypt4gh_envelope(data_key() + bytes(3 * MAX_HEADER_SIZE))
    with pytest.raises(IntegrityError, match="claims"):
        open_header(made, bytes(READER))
    assert open_header(made, bytes(READER), limit=MAX_LOCAL_HEADER_SIZE).session_keys == (KEY,)


def test_the_wrong_key_is_told_from_a_damaged_envelope() -> None:
    with pytest.raises(IntegrityError, match="different key"):
        open_header(envelope(READER), bytes(STRANGER))


def test_a_file_for_others_says_nothing_on_standard_error(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    open_header(envelope(STRANGER, READER), bytes(READER))
    assert capfd.readouterr() == ("", "")
    assert bytes(READER).hex() not in caplog.text


def test_the_data_key_is_not_shown() -> None:
    opened = open_header(envelope(READER), bytes(READER))
    assert repr(KEY) not in repr(opened)
    assert KEY.hex() not in repr(opened)


@pytest.mark.parametrize("cut", range(HEADER_SIZE))
def test_cut_at_any_byte_it_is_unfinished(cut: int) -> None:
    made = envelope(READER)
    assert header_size(made[:cut]) is None
    with pytest.raises(IntegrityError, match="ends too early"):
        open_header(made[:cut], bytes(READER))


@pytest.mark.parametrize("position", range(16, HEADER_SIZE))
def test_a_change_anywhere_in_a_packet_is_noticed(position: int) -> None:
    made = bytearray(envelope(READER))
    made[position] ^= 1
    with pytest.raises(IntegrityError):
        open_header(bytes(made), bytes(READER))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x", "magic"),
        (b"crypt4gx", "magic"),
        (b"crypt4gx" + bytes(200), "magic"),
        (b"crypt4gh" + struct.pack("<II", 2, 1), "version is 2"),
        (PREFIX + struct.pack("<I", 0), "claims 0 packets"),
        (PREFIX + struct.pack("<I", 2**32 - 1), "claims 4294967295 packets"),
        (PREFIX + struct.pack("<I", MAX_HEADER_SIZE // 4), "packets"),
        (PREFIX + struct.pack("<II", 1, 3), "claims 3 bytes"),
        (PREFIX + struct.pack("<II", 1, 0), "claims 0 bytes"),
        (PREFIX + struct.pack("<II", 1, 2**32 - 1), "claims 4294967295 bytes"),
        (PREFIX + struct.pack("<II", 1, MAX_HEADER_SIZE), "claims 1048576 bytes"),
    ],
)
def test_absurd_claims_are_refused_before_they_are_believed(data: bytes, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        header_size(data)
    with pytest.raises(IntegrityError):
        open_header(data, bytes(READER))


def test_the_most_packets_that_pass_do_not_hold_anybody_up() -> None:
    """Neither a quarter of a million empty packets nor as many sealed ones as fit."""
    empty = PREFIX + struct.pack("<I", 250_000) + struct.pack("<I", 4) * 250_000
    sealed = PREFIX + struct.pack("<I", 9_000) + envelope(STRANGER)[16:] * 9_000
    started = time.process_time()
    for data in (empty, sealed):
        with pytest.raises(IntegrityError, match="different key"):
            open_header(data, bytes(READER))
    assert time.process_time() - started < 10


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31)])
def test_a_recipient_key_of_no_use_is_refused(key: bytes) -> None:
    """Wrong lengths, and points of low order, with which everybody could read the file."""
    with pytest.raises(UsageError, match="X25519"):
        make_header(KEY, sender_private_key=bytes(WRITER), recipient_public_keys=[key])


def test_an_envelope_for_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="recipient"):
        make_header(KEY, sender_private_key=bytes(WRITER), recipient_public_keys=[])


def test_the_same_nonces_make_the_same_envelope_and_fresh_ones_another() -> None:
    def make(fill: bytes) -> bytes:
        return make_header(
            KEY,
            sender_private_key=bytes(WRITER),
            recipient_public_keys=[public(READER)],
            random_bytes=lambda size: fill * size,
        )

    assert make(b"a") == make(b"a") != make(b"b")
    assert envelope(READER) != envelope(READER)


def test_a_crypt4gh_file_is_known_by_its_first_bytes() -> None:
    assert is_crypt4gh(envelope(READER))
    assert not is_crypt4gh(b"crypt4g")
    assert not is_crypt4gh(b"\x1f\x8b" + bytes(100))


ENVELOPES = [envelope(READER), envelope(STRANGER, READER), crypt4gh_envelope(data_key(), edit_list(5, 6, 7))]


@st.composite
def damaged(random_bytes: st.DrawFn) -> bytes:
    data = bytearray(random_bytes(st.sampled_from(ENVELOPES)))
    for _ in range(random_bytes(st.integers(0, 6))):
        data[random_bytes(st.integers(0, len(data) - 1))] = random_bytes(st.integers(0, 255))
    cut = random_bytes(st.integers(0, len(data)))
    return bytes(data[:cut]) + random_bytes(st.binary(max_size=40)) + bytes(data[cut:])


@given(st.binary(max_size=200) | st.binary(max_size=200).map(PREFIX.__add__) | damaged())
@example(b"")
@settings(max_examples=200)
def test_whatever_comes_only_our_errors_leave(data: bytes) -> None:
    try:
        size = header_size(data)
        assert size is None or 16 < size <= len(data)
        opened = open_header(data, bytes(READER))
    except ConnectorError:
        pass
    else:
        assert opened.size == size
        assert all(len(key) == 32 for key in opened.session_keys)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
@settings(max_examples=200)
def test_whatever_a_writer_seals_only_our_errors_leave(packets: list[bytes]) -> None:
    with suppress(ConnectorError):
        open_header(crypt4gh_envelope(*packets), bytes(READER))
