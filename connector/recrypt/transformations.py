"""Encrypting and decrypting a local file: what is read for a part, and what is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import attrs

from connector.crypt4gh.edit_list import KeptRange, kept_ranges, kept_size, map_to_result, needed_segments
from connector.crypt4gh.keys import MAX_LOCAL_HEADER_SIZE, OpenedHeader, header_size, make_header, open_header
from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    PartSealer,
    Plaintext,
    SealedLayout,
    SegmentDecryptor,
    sealed_size,
)
from connector.errors import NO_RETRY, IntegrityError
from connector.local.files import SourceFile
from connector.local.partial_file import PartialFile
from connector.parts import Part
from connector.recrypt.job import Extent

_PROBE = 4096
"""Bytes read at first to find the header's size: more than most headers have."""


@attrs.frozen
class Content:
    """How the content below a header is decrypted: with which keys, and what the edit list keeps of it."""

    decryptor: SegmentDecryptor
    ranges: tuple[KeptRange, ...]

    @classmethod
    def below(cls, header: OpenedHeader) -> Self:
        """The content below this header."""
        return cls(SegmentDecryptor(header.session_keys), kept_ranges(header.edit_list))

    def decrypt(self, segments: memoryview, first_segment: int) -> Iterator[tuple[int, Plaintext]]:
        """Decrypt those of these segments that are needed; yields plaintext, and where in the result it belongs."""
        for run in needed_segments(self.ranges, first_segment, -(-len(segments) // CIPHER_SEGMENT_SIZE)):
            start, stop = ((index - first_segment) * CIPHER_SEGMENT_SIZE for index in (run.start, run.stop))
            plaintext = self.decryptor.open_part(segments[start:stop], first_segment=run.start)
            yield from map_to_result(self.ranges, plaintext, run.start)


class Decryption:
    """The transformation that decrypts segments with the first of `private_keys` that does, and applies an edit list.

    Crypt4GH does not authenticate the order of segments, and a local file has no checksum of its plaintext: that a file
    was truncated at a segment border is not detected.
    """

    kind = "decryption"

    def __init__(self, private_keys: Sequence[bytes]) -> None:
        self._private_keys = private_keys
        self._header_size = 0
        self._content: Content

    @property
    def name(self) -> str:
        """The plaintext does not depend on the key."""
        return self.kind

    def begin(self, source: SourceFile) -> Extent:
        """Decrypt the header and compute which ranges of the content are kept."""
        header = _read_header(source, self._private_keys)
        size = source.state.size - header.size
        self._header_size, self._content = header.size, Content.below(header)
        return Extent(moved=size, made=kept_size(self._content.ranges, size))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, decrypt and write a part or a piece of one."""
        source.read_into(self._header_size + part.start, [buffer])
        try:
            for offset, kept in self._content.decrypt(buffer, part.start // CIPHER_SEGMENT_SIZE):
                target.write(offset, kept)
        except IntegrityError as error:
            # Reading the same disk again will not help, and no other copy is known.
            raise IntegrityError(
                f"{source.path}: {error.message}", hint="Fetch the file again.", advice=NO_RETRY
            ) from error


def _read_header(source: SourceFile, private_keys: Sequence[bytes]) -> OpenedHeader:
    limit = min(source.state.size, MAX_LOCAL_HEADER_SIZE)
    length = min(_PROBE, limit)
    while True:
        data = bytearray(length)
        source.read_into(0, [memoryview(data)])
        if header_size(data, limit=MAX_LOCAL_HEADER_SIZE) is not None or length >= limit:
            return open_header(bytes(data), *private_keys, limit=MAX_LOCAL_HEADER_SIZE)
        length = min(length * 16, limit)


class Encryption:
    """The transformation that encrypts with a new session key; an empty file becomes a header alone.

    `random_bytes` generates keys and nonces.
    """

    kind = "encryption"

    def __init__(
        self, private_key: bytes, recipients: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._private_key = private_key
        self._recipients = recipients
        self._draw = random_bytes
        self._sealer: PartSealer

    @property
    def name(self) -> str:
        """Includes the recipients, since a file that is encrypted for others is a different result."""
        return " ".join([self.kind, *sorted(key.hex() for key in self._recipients)])

    def begin(self, source: SourceFile) -> Extent:
        """Encode the header."""
        session_key = self._draw(32)
        header = make_header(session_key, sender_private_key=self._private_key, recipient_public_keys=self._recipients)
        self._sealer = PartSealer(
            SealedLayout(header, source.state.size),
            session_key=session_key,
            nonce_seed=self._draw(32),
            random_bytes=self._draw,
        )
        total = len(header) + sealed_size(source.state.size)
        return Extent(moved=total, made=total, shift=len(header))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, encrypt and write a part or a piece of one."""
        target.write(part.start, [self._sealer.read_plaintext(part, buffer, source.read_into).seal()])
