"""Sealing and opening whole parts of Crypt4GH segments, in place, in a buffer that the caller owns.

Source: Crypt4GH specification, section 3.2.1 (ChaCha20-IETF-Poly1305, nonce in front, tag behind). The plaintext of
segment i of a buffer lies where its ciphertext is, 12 bytes in: so nothing is copied, and a vectored read or write
moves a part between the gaps and a file. ``cryptography`` lets go of the interpreter lock while it works, so parts are
sealed and opened in parallel threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

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
    segment_range,
)
from connector.errors import TRY_AGAIN, IntegrityError

ReadPlaintext = Callable[[int, Sequence[memoryview]], None]
"""Fills the given views with plaintext from the given offset (bytes) on; raises if there is less."""


def plain_views(buffer: memoryview) -> list[memoryview]:
    """The places in a buffer of whole segments where their plaintext lies (or will lie once opened)."""
    return [
        buffer[start + NONCE_SIZE : min(start + CIPHER_SEGMENT_SIZE, len(buffer)) - TAG_SIZE]
        for start in range(0, len(buffer), CIPHER_SEGMENT_SIZE)
    ]


class Opener:
    """Opens segments with the session keys of one file. Safe to share between threads."""

    def __init__(self, session_keys: Sequence[bytes]) -> None:
        if not session_keys:
            raise IntegrityError("There is no data key to open this content with.")
        self._ciphers = [ChaCha20Poly1305(key) for key in session_keys]

    def open_part(self, buffer: memoryview, *, first_segment: int = 0) -> list[memoryview]:
        """Open all segments in ``buffer`` in place and return the views of their plaintext, in order.

        ``first_segment`` is the index of the first one in the file, for the message. Raises
        :class:`~connector.errors.IntegrityError` naming the damaged byte range of the sealed content; the buffer is
        then partly opened and good for nothing but to be filled again.
        """
        views = plain_views(buffer)
        position = 0
        for index, view in enumerate(views):
            end = min(position + CIPHER_SEGMENT_SIZE, len(buffer))
            self._open(buffer[position:end], view, first_segment + index)
            position = end
        return views

    def _open(self, sealed: memoryview, plain: memoryview, index: int) -> None:
        if len(sealed) <= SEGMENT_OVERHEAD:
            raise damaged_segment(index, len(sealed))
        last = len(self._ciphers) - 1
        # With several data keys (specification, section 4.2.1.1) each is tried; opening in place would destroy the
        # ciphertext for the next one, so only the last try may do that.
        for number, cipher in enumerate(self._ciphers):
            try:
                if number == last:
                    cipher.decrypt_into(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], None, plain)
                else:
                    plain[:] = cipher.decrypt(bytes(sealed[:NONCE_SIZE]), bytes(sealed[NONCE_SIZE:]), None)
            except InvalidTag as error:
                if number == last:
                    raise damaged_segment(index, len(sealed)) from error
            else:
                return


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


@attrs.define
class _Placed:
    """A segment of a part: where its sealed bytes lie; in scratch memory when the part holds only a piece of it."""

    index: int
    sealed: memoryview
    straddles: bool


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
        """Read the plaintext of ``part`` to where it will be sealed; ``buffer`` has the part's size."""
        layout, shift = self._layout, len(self._layout.envelope)
        head = layout.envelope[part.start : part.stop]
        buffer[: len(head)] = head
        placed: list[_Placed] = []
        for index in segment_range(part, offset=shift):
            plain = min(SEGMENT_SIZE, layout.plain_size - index * SEGMENT_SIZE)
            start = shift + index * CIPHER_SEGMENT_SIZE - part.start
            stop = start + plain + SEGMENT_OVERHEAD
            if start < 0 or stop > len(buffer):
                placed.append(_Placed(index, memoryview(bytearray(stop - start)), True))
            else:
                placed.append(_Placed(index, buffer[start:stop], False))
        if placed:
            read(placed[0].index * SEGMENT_SIZE, [_plain(item) for item in placed])
        return LoadedPart(part, buffer, placed, self)

    def plain_views(self, loaded: LoadedPart) -> list[memoryview]:
        """Plaintext of the segments that start in the part, in order: what a digest of the whole is fed with."""
        own = self._layout.plain_range(loaded.part)
        return [_plain(item) for item in loaded.segments if item.index * SEGMENT_SIZE in own]

    def seal(self, loaded: LoadedPart) -> memoryview:
        """Seal a loaded part in place; returns its buffer, now holding exactly the part's bytes of the object."""
        shift = len(self._layout.envelope)
        nonces = memoryview(self._draw(NONCE_SIZE * len(loaded.segments)))
        for number, item in enumerate(loaded.segments):
            nonce = (
                self._derived_nonce(item.index)
                if item.straddles
                else nonces[number * NONCE_SIZE : (number + 1) * NONCE_SIZE]
            )
            item.sealed[:NONCE_SIZE] = nonce
            self._cipher.encrypt_into(nonce, _plain(item), None, item.sealed[NONCE_SIZE:])
            if item.straddles:
                start = shift + item.index * CIPHER_SEGMENT_SIZE - loaded.part.start
                piece = item.sealed[max(-start, 0) : max(-start, 0) + len(loaded.buffer)]
                if start >= 0:
                    piece = piece[: len(loaded.buffer) - start]
                loaded.buffer[max(start, 0) : max(start, 0) + len(piece)] = piece
        return loaded.buffer

    def _derived_nonce(self, index: int) -> bytes:
        return hashlib.blake2b(
            index.to_bytes(8, "little"), key=self._nonce_seed, digest_size=NONCE_SIZE, person=b"c4gh-border"
        ).digest()


@attrs.define
class LoadedPart:
    """A part whose plaintext is in memory and waits to be sealed."""

    part: Part
    buffer: memoryview
    segments: list[_Placed]
    _sealer: PartSealer

    @property
    def plaintext(self) -> list[memoryview]:
        """Plaintext that this part adds to the file's, in order."""
        return self._sealer.plain_views(self)

    def seal(self) -> memoryview:
        """Seal it; see :meth:`PartSealer.seal`."""
        return self._sealer.seal(self)


def _plain(item: _Placed) -> memoryview:
    return item.sealed[NONCE_SIZE : len(item.sealed) - TAG_SIZE]
