from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import attrs
import pytest
from crypt4gh import lib as crypt4gh_lib
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from connector.crypt4gh.keys import make_header
from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    PartSealer,
    PreparedPart,
    SealedLayout,
    SegmentDecryptor,
    sealed_size,
)
from connector.errors import RETRY, IntegrityError
from connector.parts import Part, Parts

KEY = bytes(range(32))
SEED = b"seed of the border nonces, 32 b."
WRITER, READER = PrivateKey(b"w" * 32), PrivateKey(b"r" * 32)
DATA = hashlib.shake_256(b"some genome").digest(4 * SEGMENT_SIZE)


@attrs.define
class Nonces:
    """Deterministic random bytes that never repeat, with a record of how often they were asked for."""

    salt: bytes = b""
    calls: list[int] = attrs.field(factory=list)

    def __call__(self, size: int) -> bytes:
        self.calls.append(size)
        return hashlib.shake_256(self.salt + len(self.calls).to_bytes(8, "little")).digest(size)


@attrs.frozen
class Source:
    """Plaintext that is read by offset, as a file is."""

    data: bytes

    def __call__(self, offset: int, views: Sequence[memoryview]) -> None:
        for view in views:
            assert offset + len(view) <= len(self.data), "asked for more than there is"
            view[:] = self.data[offset : offset + len(view)]
            offset += len(view)


def envelope_for(readers: int = 1) -> bytes:
    keys = [bytes(READER.public_key)] + [bytes(PrivateKey.generate().public_key) for _ in range(readers - 1)]
    return make_header(KEY, sender_private_key=bytes(WRITER), recipient_public_keys=keys)


def sealer(envelope: bytes, size: int, *, salt: bytes = b"", seed: bytes = SEED, key: bytes = KEY) -> PartSealer:
    return PartSealer(SealedLayout(envelope, size), session_key=key, nonce_seed=seed, random_bytes=Nonces(salt))


def read_plaintext(one: PartSealer, part: Part, data: bytes) -> PreparedPart:
    return one.read_plaintext(part, memoryview(bytearray(part.size)), Source(data))


def opened_by_crypt4gh(sealed: bytes) -> bytes:
    out = io.BytesIO()
    crypt4gh_lib.decrypt([(0, bytes(READER), None)], io.BytesIO(sealed), out)
    return out.getvalue()


def seal(data: bytes, key: bytes = KEY) -> bytearray:
    """Segments by the specification's words, without the module under test."""
    cipher, out = ChaCha20Poly1305(key), bytearray()
    for number, start in enumerate(range(0, len(data), SEGMENT_SIZE)):
        nonce = number.to_bytes(12, "big")
        out += nonce + cipher.encrypt(nonce, data[start : start + SEGMENT_SIZE], None)
    return out


plain_sizes = st.integers(1, 3 * SEGMENT_SIZE) | st.sampled_from(
    [1, SEGMENT_SIZE - 1, SEGMENT_SIZE, SEGMENT_SIZE + 1, 2 * SEGMENT_SIZE, 3 * SEGMENT_SIZE]
)
part_sizes = st.integers(300, 250_000) | st.sampled_from(
    [124, CIPHER_SEGMENT_SIZE - 1, CIPHER_SEGMENT_SIZE, CIPHER_SEGMENT_SIZE + 124, 2 * CIPHER_SEGMENT_SIZE]
)


@given(
    size=plain_sizes, part_size=part_sizes, readers=st.integers(1, 3), shuffle=st.randoms(), twice=st.integers(0, 20)
)
@settings(max_examples=60)
def test_parts_sealed_in_any_order_and_repeatedly_are_one_file_that_crypt4gh_opens(
    size: int, part_size: int, readers: int, shuffle: object, twice: int
) -> None:
    data, envelope = DATA[:size], envelope_for(readers)
    parts = list(Parts(len(envelope) + sealed_size(size), part_size))
    order = [*parts, *parts[:twice]]  # a part that is sealed again replaces what was sent before
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    sent: dict[int, bytes] = {}
    for number, part in enumerate(order):
        # Another process, another day: nothing is shared but layout, key and seed.
        one = sealer(envelope, size, salt=bytes([number % 256, number // 256]))
        sent[part.number] = bytes(read_plaintext(one, part, data).seal())
    assert opened_by_crypt4gh(b"".join(sent[part.number] for part in parts)) == data


@given(size=plain_sizes, part_size=part_sizes, readers=st.integers(1, 3))
@settings(max_examples=60)
def test_plaintext_of_the_parts_in_order_is_the_file_exactly_once(size: int, part_size: int, readers: int) -> None:
    data, envelope = DATA[:size], envelope_for(readers)
    parts = Parts(len(envelope) + sealed_size(size), part_size)
    one = sealer(envelope, size)
    seen = [bytes(view) for part in parts for view in read_plaintext(one, part, data).plaintext]
    assert b"".join(seen) == data


def test_sealing_stays_within_the_given_buffer() -> None:
    envelope, size = envelope_for(), 3 * SEGMENT_SIZE
    part = Parts(124 + sealed_size(size), CIPHER_SEGMENT_SIZE)[1]
    around = bytearray(b"#" * (part.size + 200))
    view = memoryview(around)[100:-100]
    sealed = sealer(envelope, size).read_plaintext(part, view, Source(DATA)).seal()
    assert around[:100] == around[-100:] == b"#" * 100
    assert sealed.obj is around
    assert len(sealed) == part.size


def test_nonces_are_drawn_once_per_part_and_never_used_twice() -> None:
    envelope, size = envelope_for(), 4 * SEGMENT_SIZE
    random_bytes = Nonces()
    one = PartSealer(SealedLayout(envelope, size), session_key=KEY, nonce_seed=SEED, random_bytes=random_bytes)
    parts = Parts(124 + sealed_size(size), 2 * CIPHER_SEGMENT_SIZE)
    content = b"".join(bytes(read_plaintext(one, part, DATA).seal()) for part in parts)[124:]
    nonces = [content[start : start + 12] for start in range(0, len(content), CIPHER_SEGMENT_SIZE)]
    assert len(set(nonces)) == 4
    assert len(random_bytes.calls) == len(parts)


def test_only_a_segment_on_a_border_keeps_its_nonce() -> None:
    """The same plaintext sealed twice must not look alike, but where two parts share a segment."""
    envelope, size = envelope_for(), 4 * SEGMENT_SIZE
    parts = Parts(124 + sealed_size(size), 2 * CIPHER_SEGMENT_SIZE)
    contents = []
    for salt in (b"first", b"second"):
        one = sealer(envelope, size, salt=salt)
        contents.append(b"".join(bytes(read_plaintext(one, part, DATA).seal()) for part in parts)[124:])
    starts = range(0, len(contents[0]), CIPHER_SEGMENT_SIZE)
    same = [contents[0][s : s + CIPHER_SEGMENT_SIZE] == contents[1][s : s + CIPHER_SEGMENT_SIZE] for s in starts]
    # 124 bytes of envelope push the end of segments 1 and 3 over the borders behind them.
    assert same == [False, True, False, True]


def test_border_nonces_depend_on_seed_and_segment() -> None:
    envelope, size = envelope_for(), 4 * SEGMENT_SIZE
    parts = Parts(124 + sealed_size(size), CIPHER_SEGMENT_SIZE)  # every segment lies across a border
    nonces = []
    for seed in (SEED, b"another" * 4):
        one = sealer(envelope, size, seed=seed)
        content = b"".join(bytes(read_plaintext(one, part, DATA).seal()) for part in parts)[124:]
        nonces += [content[start : start + 12] for start in range(0, len(content), CIPHER_SEGMENT_SIZE)]
    assert len(set(nonces)) == 8


def test_a_source_that_is_too_short_is_not_sealed() -> None:
    def read(offset: int, views: Sequence[memoryview]) -> None:
        raise EOFError

    part = Parts(124 + sealed_size(100), 1000)[0]
    with pytest.raises(EOFError):
        sealer(envelope_for(), 100).read_plaintext(part, memoryview(bytearray(part.size)), read)


def test_an_empty_file_is_its_envelope() -> None:
    envelope = envelope_for()
    (part,) = Parts(len(envelope), 1000)
    one = sealer(envelope, 0)
    prepared = read_plaintext(one, part, b"")
    assert prepared.plaintext == []
    assert bytes(prepared.seal()) == envelope


# Opening ------------------------------------------------------------------------------------------------------------


@given(size=st.integers(0, 3 * SEGMENT_SIZE))
@settings(max_examples=40)
def test_opening_gives_the_plaintext_in_two_pieces_at_most(size: int) -> None:
    buffer = seal(DATA[:size])
    plaintext = SegmentDecryptor([KEY]).open_part(memoryview(buffer))
    assert b"".join(plaintext) == DATA[:size]
    assert len(plaintext) == (size > 0) + (size > SEGMENT_SIZE)
    assert all(len(view) for view in plaintext)
    # All but the first segment's is in the buffer's front, so that a part takes no second buffer.
    assert buffer[: max(size - SEGMENT_SIZE, 0)] == DATA[SEGMENT_SIZE:size]
    assert [view.obj is buffer for view in plaintext] == [False, True][: len(plaintext)]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_right_one_of_several_session_keys_is_found_for_each_segment(place: int) -> None:
    keys = [b"1" * 32, b"2" * 32, b"3" * 32]
    buffer = seal(DATA[:SEGMENT_SIZE], keys[place]) + seal(DATA[SEGMENT_SIZE : SEGMENT_SIZE + 77], keys[2 - place])
    assert b"".join(SegmentDecryptor(keys).open_part(memoryview(buffer))) == DATA[: SEGMENT_SIZE + 77]


def test_nothing_opens_without_keys() -> None:
    with pytest.raises(IntegrityError):
        SegmentDecryptor([]).open_part(memoryview(seal(DATA[:77])))


@given(size=st.integers(1, 2 * SEGMENT_SIZE + 500), data=st.data(), keys=st.integers(1, 2))
@settings(max_examples=80)
def test_a_flipped_bit_is_found_and_its_range_named(size: int, data: st.DataObject, keys: int) -> None:
    buffer = seal(DATA[:size])
    position = data.draw(st.integers(0, len(buffer) - 1))
    buffer[position] ^= 1 << data.draw(st.integers(0, 7))
    first = data.draw(st.integers(0, 10**7))
    with pytest.raises(IntegrityError) as caught:
        SegmentDecryptor([b"x" * 32, KEY][-keys:]).open_part(memoryview(buffer), first_segment=first)
    index = position // CIPHER_SEGMENT_SIZE
    start = (first + index) * CIPHER_SEGMENT_SIZE
    stop = start + min(len(buffer) - index * CIPHER_SEGMENT_SIZE, CIPHER_SEGMENT_SIZE)
    assert f"Segment {first + index} (bytes {start} to {stop} " in caught.value.message
    assert caught.value.advice == RETRY


@given(size=st.integers(1, 2 * SEGMENT_SIZE), data=st.data())
@settings(max_examples=80)
def test_a_truncated_segment_is_found(size: int, data: st.DataObject) -> None:
    buffer = seal(DATA[:size])
    cut = data.draw(st.integers(1, len(buffer) - 1).filter(lambda n: n % CIPHER_SEGMENT_SIZE), label="cut")
    with pytest.raises(IntegrityError, match=f"Segment {cut // CIPHER_SEGMENT_SIZE} "):
        SegmentDecryptor([KEY]).open_part(memoryview(buffer)[:cut])


@pytest.mark.parametrize("size", [1, 12, SEGMENT_OVERHEAD - 1, SEGMENT_OVERHEAD])
@pytest.mark.parametrize("before", [0, 1])
def test_a_rest_too_short_for_any_segment_is_found(size: int, before: int) -> None:
    buffer = seal(DATA[: before * SEGMENT_SIZE]) + bytes(size)
    with pytest.raises(IntegrityError, match=f"Segment {before} "):
        SegmentDecryptor([KEY]).open_part(memoryview(buffer))


def test_the_wrong_key_opens_nothing() -> None:
    with pytest.raises(IntegrityError):
        SegmentDecryptor([b"wrong" * 6 + b"!!"]).open_part(memoryview(seal(b"secret")))
