"""Sealing and opening whole parts of Crypt4GH segments in a buffer that the caller owns.

Source: Crypt4GH specification, section 3.2.1 (ChaCha20-IETF-Poly1305, nonce in front, tag behind). ``cryptography``
and ``hashlib`` let go of the interpreter lock while they work, so parts are sealed and opened in parallel threads; but
each time they take it back they may have to wait for another thread. So the plaintext of a part lies in one piece, to
be hashed, read and written by one call: at the front of the buffer once opened, at its end until it is sealed. On its
way each segment goes through a scratch of its own size, which stays in the processor's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.core.layout import (
    CIPHER_SEGMENT_SIZE,
    NONCE_SIZE,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    TAG_SIZE,
    Part,
    sealed_size,
    segment_range,
)
from connector.errors import TRY_AGAIN, IntegrityError

ReadPlaintext = Callable[[int, Sequence[memoryview]], None]
"""Fills the given views with plaintext from the given offset (bytes) on; raises if there is less."""


class Opener:
    """Opens segments with the session keys of one file. Safe to share between threads."""

    def __init__(self, session_keys: Sequence[bytes]) -> None:
        if not session_keys:
            raise IntegrityError("There is no data key to open this content with.")
        self._ciphers = [ChaCha20Poly1305(key) for key in session_keys]

    def open_part(self, buffer: memoryview, *, first_segment: int = 0) -> memoryview:
        """Open all segments in ``buffer`` and return their plaintext: the front of the buffer.

        ``first_segment`` is the index of the first one in the file, for the message. Raises
        :class:`~connector.errors.IntegrityError` naming the damaged byte range of the sealed content; the buffer is
        then partly opened and good for nothing but to be filled again.
        """
        scratch = memoryview(bytearray(min(len(buffer), SEGMENT_SIZE)))
        size = 0
        for index, start in enumerate(range(0, len(buffer), CIPHER_SEGMENT_SIZE)):
            plain = self._open(buffer[start : start + CIPHER_SEGMENT_SIZE], scratch, first_segment + index)
            buffer[size : size + len(plain)] = plain
            size += len(plain)
        return buffer[:size]

    def _open(self, sealed: memoryview, scratch: memoryview, index: int) -> memoryview:
        plain = scratch[: max(len(sealed) - SEGMENT_OVERHEAD, 0)]
        # With several data keys (specification, section 4.2.1.1) each is tried.
        for cipher in self._ciphers if plain else ():
            with suppress(InvalidTag):
                cipher.decrypt_into(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], None, plain)
                return plain
        raise damaged_segment(index, len(sealed))


def damaged_segment(index: int, size: int) -> IntegrityError:
    """The error for a segment that does not authenticate; trying again may help, since the way may be at fault."""
    start = index * CIPHER_SEGMENT_SIZE
    return IntegrityError(
        f"Segment {index} (bytes {start} to {start + size} of the encrypted content) is damaged.",
        hint="If fetching it again does not help, the archive's copy is damaged: tell the archive.",
        advice=TRY_AGAIN,
    )


@attrs.frozen
class SealedLayout:
    """How a file to be sent is laid out: ``envelope``, then the segments of ``plain_size`` bytes of plaintext."""

    envelope: bytes
    plain_size: int

    @property
    def segment_count(self) -> int:
        """Number of segments."""
        return -(-self.plain_size // SEGMENT_SIZE)

    def plain_range(self, part: Part) -> range:
        """Offsets of the plaintext in the segments that *start* in ``part``, so that every byte is in one part."""
        shift = len(self.envelope)
        first = -(-max(part.start - shift, 0) // CIPHER_SEGMENT_SIZE)
        last = -(-max(part.stop - shift, 0) // CIPHER_SEGMENT_SIZE)
        return range(min(first * SEGMENT_SIZE, self.plain_size), min(last * SEGMENT_SIZE, self.plain_size))

    def whole_segments(self, part: Part) -> range:
        """Indices of the segments that lie in ``part`` from their first byte to their last."""
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
    drawn but derived (keyed BLAKE2b) from ``nonce_seed``, 32 random bytes that belong to this file and key alone;
    all other nonces come from ``draw`` (``os.urandom``), once per part.
    """

    def __init__(
        self, layout: SealedLayout, *, session_key: bytes, nonce_seed: bytes, draw: Callable[[int], bytes]
    ) -> None:
        self._layout = layout
        self._cipher = ChaCha20Poly1305(session_key)
        self._nonce_seed = nonce_seed
        self._draw = draw

    def load(self, part: Part, buffer: memoryview, read: ReadPlaintext) -> LoadedPart:
        """Read the plaintext of ``part`` to where it is sealed from; ``buffer`` has the part's size.

        A segment that a border cuts is needed whole: it gets memory of its own.
        """
        layout, shift = self._layout, len(self._layout.envelope)
        head = layout.envelope[part.start : part.stop]
        buffer[: len(head)] = head
        whole = layout.whole_segments(part)
        start, size = shift + whole.start * CIPHER_SEGMENT_SIZE - part.start, layout.plain_length(whole)
        stop = start + sealed_size(size)
        cut: dict[int, memoryview] = {}
        plain: list[tuple[int, memoryview]] = [(whole.start, buffer[stop - size : stop])] if whole else []
        for index in segment_range(part, offset=shift):
            if index not in whole:
                cut[index] = memoryview(bytearray(sealed_size(layout.plain_length(range(index, index + 1)))))
                plain.append((index, _plain(cut[index])))
        plain.sort(key=itemgetter(0))
        if plain:
            read(plain[0][0] * SEGMENT_SIZE, [view for _, view in plain])
        own = layout.plain_range(part)
        plaintext = [view for index, view in plain if index * SEGMENT_SIZE in own]
        return LoadedPart(part, buffer, plaintext, buffer[start:stop] if whole else buffer[:0], cut, self)

    def seal(self, loaded: LoadedPart) -> memoryview:
        """Seal a loaded part; returns its buffer, now holding exactly the part's bytes of the object."""
        self._seal_whole(loaded.whole)
        for index, sealed in loaded.cut.items():
            self._seal_into(sealed, self._derived_nonce(index), _plain(sealed))
            start = len(self._layout.envelope) + index * CIPHER_SEGMENT_SIZE - loaded.part.start
            piece = sealed[max(-start, 0) : len(loaded.buffer) - start]
            loaded.buffer[max(start, 0) : max(start, 0) + len(piece)] = piece
        return loaded.buffer

    def _seal_whole(self, sealed: memoryview) -> None:
        """Seal segments in the memory at the end of which their plaintext lies.

        From the first to the last: each moves forward by the 28 bytes that are still to come in front of each one
        behind it, and so never over plaintext that has not been sealed.
        """
        count = -(-len(sealed) // CIPHER_SEGMENT_SIZE)
        nonces = self._draw(NONCE_SIZE * count)
        plaintext = sealed[count * SEGMENT_OVERHEAD :]
        scratch = memoryview(bytearray(min(len(plaintext), SEGMENT_SIZE)))
        for number in range(count):
            piece = plaintext[number * SEGMENT_SIZE : (number + 1) * SEGMENT_SIZE]
            scratch[: len(piece)] = piece
            target = sealed[number * CIPHER_SEGMENT_SIZE : (number + 1) * CIPHER_SEGMENT_SIZE]
            self._seal_into(target, nonces[number * NONCE_SIZE : (number + 1) * NONCE_SIZE], scratch[: len(piece)])

    def _seal_into(self, sealed: memoryview, nonce: bytes, plain: memoryview) -> None:
        sealed[:NONCE_SIZE] = nonce
        self._cipher.encrypt_into(nonce, plain, None, sealed[NONCE_SIZE:])

    def _derived_nonce(self, index: int) -> bytes:
        return hashlib.blake2b(
            index.to_bytes(8, "little"), key=self._nonce_seed, digest_size=NONCE_SIZE, person=b"c4gh-border"
        ).digest()


@attrs.define
class LoadedPart:
    """A part whose plaintext is in memory and waits to be sealed.

    ``plaintext`` is what it adds to the file's, in order: mostly one piece. ``whole`` is where its whole segments
    belong in ``buffer``, ``cut`` holds the others by index.
    """

    part: Part
    buffer: memoryview
    plaintext: list[memoryview]
    whole: memoryview
    cut: dict[int, memoryview]
    _sealer: PartSealer

    def seal(self) -> memoryview:
        """Seal it; see :meth:`PartSealer.seal`."""
        return self._sealer.seal(self)


def _plain(sealed: memoryview) -> memoryview:
    return sealed[NONCE_SIZE : len(sealed) - TAG_SIZE]
