"""Sealing and opening whole parts of Crypt4GH segments in a buffer that the caller owns.

Source: Crypt4GH specification, section 3.2.1 (ChaCha20-IETF-Poly1305, nonce in front, tag behind). `cryptography`
and `hashlib` let go of the interpreter lock while they work, so parts are sealed and opened in parallel threads; but
each time they take it back they may have to wait for another thread. So the plaintext of a part lies in two pieces,
to be hashed, read and written by a call or two: that of the first segment in memory of its own, all the rest at the
front of the buffer. Each segment then has its plaintext where the one before it has its sealed bytes: it is opened and
sealed from its place to its place, without a copy between, first to last the one way and last to first the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.crypt4gh.layout import (
    CIPHER_SEGMENT_SIZE,
    NONCE_SIZE,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    TAG_SIZE,
    sealed_size,
    segment_range,
)
from connector.errors import RETRY, IntegrityError
from connector.parts import Part

Plaintext = Sequence[memoryview]
"""Pieces of plaintext, one after the other."""

ReadPlaintext = Callable[[int, Sequence[memoryview]], None]
"""Fills the given views with plaintext from the given offset (bytes) on; raises if there is less."""


class SegmentDecryptor:
    """Opens segments with the session keys of one file. Safe to share between threads."""

    def __init__(self, session_keys: Sequence[bytes]) -> None:
        if not session_keys:
            raise IntegrityError("There is no data key to open this content with.")
        self._ciphers = [ChaCha20Poly1305(key) for key in session_keys]
        self._open_into = self._ciphers[0].decrypt_into if len(self._ciphers) == 1 else self._open_with_any

    def open_part(self, buffer: memoryview, *, first_segment: int = 0) -> Plaintext:
        """Open all segments in `buffer` and return their plaintext, all but the first 64 KiB of it in the buffer.

        `first_segment` is the index of the first one in the file, for the message. Raises
        `IntegrityError` naming the damaged byte range of the sealed content; the buffer is
        then partly opened and good for nothing but to be filled again.
        """
        if not buffer:
            return []
        first, rest = plaintext_views(buffer)
        last = (len(buffer) - 1) // CIPHER_SEGMENT_SIZE
        if len(buffer) - last * CIPHER_SEGMENT_SIZE <= SEGMENT_OVERHEAD:
            raise damaged_segment(buffer, last, first_segment)
        # As little as possible around the call for each segment: meanwhile no other thread can go on.
        index, open_into = 0, self._open_into
        try:
            open_into(buffer[:NONCE_SIZE], buffer[NONCE_SIZE:CIPHER_SEGMENT_SIZE], None, first)
            for index in range(1, last + 1):
                start, done = index * CIPHER_SEGMENT_SIZE, (index - 1) * SEGMENT_SIZE
                body = start + NONCE_SIZE
                sealed, plain = buffer[body : start + CIPHER_SEGMENT_SIZE], rest[done : done + SEGMENT_SIZE]
                open_into(buffer[start:body], sealed, None, plain)
        except InvalidTag:
            raise damaged_segment(buffer, index, first_segment) from None
        return [first, rest] if rest else [first]

    def _open_with_any(self, nonce: memoryview, sealed: memoryview, aad: None, plain: memoryview) -> int:
        """Try each of several data keys (specification, section 4.2.1.1); raises `InvalidTag` if none fits."""
        for cipher in self._ciphers:
            with suppress(InvalidTag):
                return cipher.decrypt_into(nonce, sealed, aad, plain)
        raise InvalidTag


def plaintext_views(sealed: memoryview) -> tuple[memoryview, memoryview]:
    """Where the plaintext of the segments in `sealed` goes: that of the first, and that of the rest."""
    full, rest = divmod(len(sealed), CIPHER_SEGMENT_SIZE)
    size = full * SEGMENT_SIZE + max(rest - SEGMENT_OVERHEAD, 0)
    first = memoryview(bytearray(min(size, SEGMENT_SIZE)))
    return first, sealed[: max(size - SEGMENT_SIZE, 0)]


def damaged_segment(buffer: memoryview, index: int, before: int) -> IntegrityError:
    """The error for a segment of `buffer` that does not authenticate; trying again may help, since the way may be at
    fault. `before`: segments of the file before those in the buffer.
    """
    start = (before + index) * CIPHER_SEGMENT_SIZE
    size = len(buffer[index * CIPHER_SEGMENT_SIZE :][:CIPHER_SEGMENT_SIZE])
    return IntegrityError(
        f"Segment {before + index} (bytes {start} to {start + size} of the encrypted content) is damaged.",
        hint="If fetching it again does not help, the archive's copy is damaged: tell the archive.",
        advice=RETRY,
    )


@attrs.frozen
class SealedLayout:
    """How a file to be sent is laid out: `envelope`, then the segments of `plain_size` bytes of plaintext."""

    envelope: bytes
    plain_size: int

    @property
    def segment_count(self) -> int:
        """Number of segments."""
        return -(-self.plain_size // SEGMENT_SIZE)

    def plain_range(self, part: Part) -> range:
        """Offsets of the plaintext in the segments that *start* in `part`, so that every byte is in one part."""
        shift = len(self.envelope)
        first = -(-max(part.start - shift, 0) // CIPHER_SEGMENT_SIZE)
        last = -(-max(part.stop - shift, 0) // CIPHER_SEGMENT_SIZE)
        return range(min(first * SEGMENT_SIZE, self.plain_size), min(last * SEGMENT_SIZE, self.plain_size))

    def whole_segments(self, part: Part) -> range:
        """Indices of the segments that lie in `part` from their first byte to their last."""
        start, stop = (max(border - len(self.envelope), 0) for border in (part.start, part.stop))
        first = -(-start // CIPHER_SEGMENT_SIZE)
        last = self.segment_count if stop >= sealed_size(self.plain_size) else stop // CIPHER_SEGMENT_SIZE
        return range(first, max(first, last))

    def plain_length(self, segments: range) -> int:
        """Bytes of plaintext in a run of segments."""
        return min(segments.stop * SEGMENT_SIZE, self.plain_size) - min(segments.start * SEGMENT_SIZE, self.plain_size)


class PartSealer:
    """Seals the parts of one file, each on its own, in any order and as often as needed.

    A part border may cut a segment (the envelope shifts them all). Both parts must then hold pieces of the same
    ciphertext, although they may be sealed in different processes, days apart. So the nonce of such a segment is not
    drawn but derived (keyed BLAKE2b) from `nonce_seed`, 32 random bytes that belong to this file and key alone;
    all other nonces come from `draw` (`os.urandom`), once per part.
    """

    def __init__(
        self, layout: SealedLayout, *, session_key: bytes, nonce_seed: bytes, draw: Callable[[int], bytes]
    ) -> None:
        self._layout = layout
        self._cipher = ChaCha20Poly1305(session_key)
        self._nonce_seed = nonce_seed
        self._draw = draw

    def load(self, part: Part, buffer: memoryview, read: ReadPlaintext) -> PreparedPart:
        """Read the plaintext of `part` to where it is sealed from; `buffer` has the part's size.

        A segment that a border cuts is needed whole: it gets memory of its own.
        """
        layout, shift = self._layout, len(self._layout.envelope)
        head = layout.envelope[part.start : part.stop]
        buffer[: len(head)] = head
        whole = layout.whole_segments(part)
        start = shift + whole.start * CIPHER_SEGMENT_SIZE - part.start
        sealed = buffer[start : start + sealed_size(layout.plain_length(whole))] if whole else buffer[:0]
        cut: dict[int, memoryview] = {}
        first, rest = plaintext_views(sealed)
        plain = [(index, view) for index, view in ((whole.start, first), (whole.start + 1, rest)) if len(view)]
        for index in segment_range(part, offset=shift):
            if index not in whole:
                cut[index] = memoryview(bytearray(sealed_size(layout.plain_length(range(index, index + 1)))))
                plain.append((index, _plain(cut[index])))
        plain.sort(key=itemgetter(0))
        if plain:
            read(plain[0][0] * SEGMENT_SIZE, [view for _, view in plain])
        own = layout.plain_range(part)
        plaintext = [view for index, view in plain if index * SEGMENT_SIZE in own]
        return PreparedPart(part, buffer, plaintext, sealed, first, cut, self)

    def seal(self, loaded: PreparedPart) -> memoryview:
        """Seal a loaded part; returns its buffer, now holding exactly the part's bytes of the object."""
        self._seal_whole(loaded.whole, loaded.first)
        for index, sealed in loaded.cut.items():
            self._seal_into(sealed, self._derived_nonce(index), _plain(sealed))
            start = len(self._layout.envelope) + index * CIPHER_SEGMENT_SIZE - loaded.part.start
            piece = sealed[max(-start, 0) : len(loaded.buffer) - start]
            loaded.buffer[max(start, 0) : max(start, 0) + len(piece)] = piece
        return loaded.buffer

    def _seal_whole(self, sealed: memoryview, first: memoryview) -> None:
        """Seal segments to where they belong, from the last one to the first."""
        count = -(-len(sealed) // CIPHER_SEGMENT_SIZE)
        nonces = self._draw(NONCE_SIZE * count)
        for number in reversed(range(count)):
            target = sealed[number * CIPHER_SEGMENT_SIZE : (number + 1) * CIPHER_SEGMENT_SIZE]
            start = (number - 1) * SEGMENT_SIZE
            plain = sealed[start : start + len(target) - SEGMENT_OVERHEAD] if number else first
            self._seal_into(target, nonces[number * NONCE_SIZE : (number + 1) * NONCE_SIZE], plain)

    def _seal_into(self, sealed: memoryview, nonce: bytes, plain: memoryview) -> None:
        sealed[:NONCE_SIZE] = nonce
        self._cipher.encrypt_into(nonce, plain, None, sealed[NONCE_SIZE:])

    def _derived_nonce(self, index: int) -> bytes:
        return hashlib.blake2b(
            index.to_bytes(8, "little"), key=self._nonce_seed, digest_size=NONCE_SIZE, person=b"c4gh-border"
        ).digest()


@attrs.define
class PreparedPart:
    """A part whose plaintext is in memory and waits to be sealed.

    `plaintext` is what it adds to the file's, in order. `whole` is where its whole segments belong in `buffer`,
    `first` the plaintext of the first of them, `cut` holds the others by index.
    """

    part: Part
    buffer: memoryview
    plaintext: Plaintext
    whole: memoryview
    first: memoryview
    cut: dict[int, memoryview]
    _sealer: PartSealer

    def seal(self) -> memoryview:
        """Seal it; see `PartSealer.seal`."""
        return self._sealer.seal(self)


def _plain(sealed: memoryview) -> memoryview:
    return sealed[NONCE_SIZE : len(sealed) - TAG_SIZE]
