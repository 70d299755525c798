"""Decrypting a local Crypt4GH file."""

from __future__ import annotations

import attrs

from connector.crypt4gh.edit_list import KeptRange, kept_ranges, map_to_result
from connector.crypt4gh.header import MAX_HEADER_SIZE, OpenedHeader, header_size, open_header
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, opened_size
from connector.crypt4gh.segments import SegmentDecryptor
from connector.errors import NO_RETRY, IntegrityError
from connector.local.partial_file import PartialFile
from connector.local.source_file import SourceFile
from connector.parts import Part
from connector.recrypt.job import Extent

_PROBE = 4096
"""Bytes read at first to find the header's size: more than most headers have."""


@attrs.frozen
class _Plan:
    decryptor: SegmentDecryptor
    header_size: int
    ranges: tuple[KeptRange, ...]


class Decryption:
    """The transformation that decrypts segments; an edit list in the header is applied.

    Crypt4GH does not authenticate the order of segments, and a local file has no checksum of its plaintext: that a file
    was truncated at a segment border is not detected.
    """

    kind = "decryption"

    def __init__(self, private_key: bytes) -> None:
        self._private_key = private_key
        self._plan: _Plan | None = None

    @property
    def name(self) -> str:
        """The plaintext does not depend on the key."""
        return self.kind

    def begin(self, source: SourceFile) -> Extent:
        """Decrypt the header and compute which ranges of the content are kept."""
        header = _read_header(source, self._private_key)
        content = source.state.size - header.size
        ranges = kept_ranges(header.edit_list, opened_size(content))
        self._plan = _Plan(SegmentDecryptor(header.session_keys), header.size, ranges)
        return Extent(moved=content, made=sum(kept.stop - kept.start for kept in ranges))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, decrypt and write a part or a piece of one."""
        plan = self._plan
        assert plan is not None, "begin() comes first"
        first = part.start // CIPHER_SEGMENT_SIZE
        source.read_into(plan.header_size + part.start, [buffer])
        try:
            plaintext = plan.decryptor.open_part(buffer, first_segment=first)
        except IntegrityError as error:
            # Reading the same disk again will not help, and no other copy is known.
            raise IntegrityError(
                f"{source.path}: {error.message}", hint="Fetch the file again.", advice=NO_RETRY
            ) from error
        for offset, kept in map_to_result(plan.ranges, plaintext, first):
            target.write(offset, kept)


def _read_header(source: SourceFile, private_key: bytes) -> OpenedHeader:
    length = min(_PROBE, source.state.size)
    while True:
        data = bytearray(length)
        source.read_into(0, [memoryview(data)])
        if header_size(bytes(data)) is not None or length >= min(source.state.size, MAX_HEADER_SIZE):
            return open_header(bytes(data), private_key)
        length = min(length * 16, source.state.size, MAX_HEADER_SIZE)
