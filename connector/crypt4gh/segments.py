"""Crypt4GH segments: their arithmetic, the part sizes that keep them whole, and their encryption in place.

Source: Crypt4GH specification, sections 3 and 3.2.1 (64 KiB data blocks, each sealed with ChaCha20-IETF-Poly1305, the
12 byte nonce first, the 16 byte tag last).

Parts are encrypted and decrypted in their buffers. `cryptography` and `hashlib` release the GIL, so parts are processed
in parallel threads; but each time they acquire it again they may wait for another thread. So the plaintext of a part is
in only two pieces, each hashed, read or written in one call: that of the first segment in memory of its own, the rest
at the front of the buffer. There the plaintext of a segment overlaps the encrypted bytes of the one before it, so
segments are decrypted from first to last and encrypted from last to first, without a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.errors import RETRY, IntegrityError
from connector.parts import S3_MAX_PART_SIZE, S3_MAX_PARTS, S3_MIN_PART_SIZE, Part, check_object_size

NONCE_SIZE = 12
TAG_SIZE = 16
SEGMENT_OVERHEAD = NONCE_SIZE + TAG_SIZE
SEGMENT_SIZE = 65_536
CIPHER_SEGMENT_SIZE = SEGMENT_SIZE + SEGMENT_OVERHEAD
HEADER_SIZE = 124
"""Bytes of a Crypt4GH header with one recipient and one data key packet."""

MAX_DOWNLOAD_PARTS = 100_000
"""A limit of the connector: a journal names each part, and is held in memory when a download is resumed."""


def sealed_size(plain_size: int) -> int:
    """Bytes of the encrypted segments of `plain_size` bytes of plaintext, without the header."""
    segments = -(-plain_size // SEGMENT_SIZE)
    return plain_size + segments * SEGMENT_OVERHEAD


def file_size(plain_size: int) -> int:
    """Bytes of an encrypted file with one recipient: its header, and the segments of `plain_size` bytes."""
    return HEADER_SIZE + sealed_size(plain_size)


def opened_size(content_size: int, *, checked: bool = True) -> int:
    """Bytes of plaintext in `content_size` bytes of encrypted segments, without the header.

    Raises:
        IntegrityError: For a size that no sequence of segments can have, unless it is not `checked`.
    """
    full, rest = divmod(content_size, CIPHER_SEGMENT_SIZE)
    if checked and (content_size < 0 or 0 < rest <= SEGMENT_OVERHEAD):
        raise IntegrityError(
            f"{content_size} bytes cannot be a whole number of Crypt4GH segments.",
            hint="The file is truncated or not Crypt4GH; fetch it again.",
        )
    return full * SEGMENT_SIZE + max(rest - SEGMENT_OVERHEAD, 0)


def align_to_segments(part_size: int) -> int:
    """Round `part_size` down to a multiple of an encrypted segment, but at least to one segment."""
    return max(part_size // CIPHER_SEGMENT_SIZE, 1) * CIPHER_SEGMENT_SIZE


def fit_upload_part_size(total: int, wanted: int) -> int:
    """A part size close to `wanted` with which `total` bytes meet all limits of S3 multipart uploads.

    The result is a multiple of an encrypted segment (65,564 bytes), at least 5 MiB, and large enough for at most
    10,000 parts.

    Raises:
        UsageError: For more than `S3_MAX_OBJECT_SIZE` bytes.
    """
    check_object_size(total)
    smallest = -(-max(S3_MIN_PART_SIZE, -(-total // S3_MAX_PARTS)) // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return max(smallest, align_to_segments(min(wanted, S3_MAX_PART_SIZE)))


def fit_download_part_size(total: int, wanted: int) -> int:
    """A part size close to `wanted` with which `total` bytes are at most `MAX_DOWNLOAD_PARTS` parts.

    The result is a multiple of an encrypted segment, so that parts hold whole segments, and at most 5 GiB.
    """
    smallest = -(-total // MAX_DOWNLOAD_PARTS // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return align_to_segments(min(max(smallest, wanted), S3_MAX_PART_SIZE))


def segment_range(part: Part, *, offset: int) -> range:
    """Indices of the segments that overlap `part` of an object whose first segment starts at `offset`."""
    first = max(part.start - offset, 0) // CIPHER_SEGMENT_SIZE
    last = -(-max(part.stop - offset, 0) // CIPHER_SEGMENT_SIZE)
    return range(first, last)


Plaintext = Sequence[memoryview]
"""Consecutive pieces of plaintext."""

ReadPlaintext = Callable[[int, Sequence[memoryview]], None]
"""Fills the views with plaintext from the offset (bytes) on; raises if there is less."""


class SegmentDecryptor:
    """Decrypts segments with the session keys of one file. Safe to share between threads."""

    def __init__(self, session_keys: Sequence[bytes]) -> None:
        self._ciphers = [ChaCha20Poly1305(key) for key in session_keys]
        self._open_into = self._ciphers[0].decrypt_into if len(self._ciphers) == 1 else self._open_with_any

    def open_part(self, buffer: memoryview, *, first_segment: int = 0) -> Plaintext:
        """Open all segments in `buffer` and return their plaintext, all but the first 64 KiB of it in the buffer.

        `first_segment` is the index of the first one in the file, for the message. Raises `IntegrityError` naming the
        damaged byte range; the buffer is then partly opened and has to be filled again.
        """
        if not buffer:
            return []
        first, rest = plaintext_views(buffer)
        last = (len(buffer) - 1) // CIPHER_SEGMENT_SIZE
        if len(buffer) - last * CIPHER_SEGMENT_SIZE <= SEGMENT_OVERHEAD:
            raise damaged_segment(buffer, last, first_segment)
        # As little as possible around each call: this code holds the GIL.
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
    """The memory for the plaintext of the segments in `sealed`: that of the first, and that of the rest."""
    size = opened_size(len(sealed), checked=False)
    first = memoryview(bytearray(min(size, SEGMENT_SIZE)))
    return first, sealed[: max(size - SEGMENT_SIZE, 0)]


def damaged_segment(buffer: memoryview, index: int, before: int) -> IntegrityError:
    """The error for a segment of `buffer`, which `before` others precede: a retry helps if transit has damaged it."""
    start = (before + index) * CIPHER_SEGMENT_SIZE
    size = len(buffer[index * CIPHER_SEGMENT_SIZE :][:CIPHER_SEGMENT_SIZE])
    return IntegrityError(
        f"Segment {before + index} (bytes {start} to {start + size} of the encrypted content) is damaged.",
        hint="If fetching it again does not help, the archive's copy is damaged: tell the archive.",
        advice=RETRY,
    )


@attrs.frozen
class SealedLayout:
    """The layout of a file to be sent: `header`, then the segments of `plain_size` bytes of plaintext."""

    header: bytes
    plain_size: int

    def whole_segments(self, part: Part) -> range:
        """Indices of the segments that are completely in `part`."""
        start, stop = max(part.start - len(self.header), 0), max(part.stop - len(self.header), 0)
        first = -(-start // CIPHER_SEGMENT_SIZE)
        # The last segment of the file is whole even if it is short.
        last = -(-stop // CIPHER_SEGMENT_SIZE) if stop >= sealed_size(self.plain_size) else stop // CIPHER_SEGMENT_SIZE
        return range(first, max(first, last))

    def plain_length(self, segments: range) -> int:
        """Bytes of plaintext in a range of segments."""
        return min(segments.stop * SEGMENT_SIZE, self.plain_size) - min(segments.start * SEGMENT_SIZE, self.plain_size)


class PartSealer:
    """Encrypts the parts of one file, independently, in any order and as often as needed.

    A part border may cut a segment (the header shifts them all). Both parts must then hold pieces of the same
    ciphertext, although they may be encrypted in different processes, days apart. So the nonce of such a segment is
    derived (keyed BLAKE2b) from `nonce_seed`, 32 random bytes that are used for this file and key alone; all other
    nonces are random, generated by one call of `random_bytes` per part.
    """

    def __init__(
        self, layout: SealedLayout, *, session_key: bytes, nonce_seed: bytes, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._layout = layout
        self._cipher = ChaCha20Poly1305(session_key)
        self._nonce_seed = nonce_seed
        self._draw = random_bytes

    def read_plaintext(self, part: Part, buffer: memoryview, read: ReadPlaintext) -> PreparedPart:
        """Read the plaintext of `part` to where it is encrypted from; `buffer` has the part's size.

        A segment that a part border cuts is read as a whole, into memory of its own.
        """
        layout, shift = self._layout, len(self._layout.header)
        head = layout.header[part.start : part.stop]
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
        # Of the segments that start in this part, so that every byte is in the plaintext of one part.
        plaintext = [view for index, view in plain if shift + index * CIPHER_SEGMENT_SIZE >= part.start]
        return PreparedPart(part, buffer, plaintext, sealed, first, cut, self)

    def seal(self, prepared: PreparedPart) -> memoryview:
        """Encrypt a part; returns its buffer, which then holds the part's bytes of the object."""
        self._seal_whole(prepared.whole, prepared.first)
        for index, sealed in prepared.cut.items():
            self._seal_into(sealed, self._derived_nonce(index), _plain(sealed))
            start = len(self._layout.header) + index * CIPHER_SEGMENT_SIZE - prepared.part.start
            piece = sealed[max(-start, 0) : len(prepared.buffer) - start]
            prepared.buffer[max(start, 0) : max(start, 0) + len(piece)] = piece
        return prepared.buffer

    def _seal_whole(self, sealed: memoryview, first: memoryview) -> None:
        """Encrypt segments in place, from the last one to the first."""
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
    """A part whose plaintext is in memory, ready to be encrypted.

    Attributes:
        plaintext: The plaintext that starts in this part.
        whole: The range of `buffer` for its whole segments.
        first: The plaintext of the first of them.
        cut: The segments that part borders cut, by index.
    """

    part: Part
    buffer: memoryview
    plaintext: Plaintext
    whole: memoryview
    first: memoryview
    cut: dict[int, memoryview]
    _sealer: PartSealer

    def seal(self) -> memoryview:
        """Encrypt it; see `PartSealer.seal`."""
        return self._sealer.seal(self)


def _plain(sealed: memoryview) -> memoryview:
    return sealed[NONCE_SIZE : len(sealed) - TAG_SIZE]
