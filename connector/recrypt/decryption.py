"""Decrypting a local Crypt4GH file."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from connector.crypt4gh.edit_list import KeptRange, kept_ranges, kept_size, map_to_result, needed_segments
from connector.crypt4gh.header import MAX_LOCAL_HEADER_SIZE, OpenedHeader, header_size, open_header
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE
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
    """The transformation that decrypts segments with the first of `private_keys` that does, and applies an edit list.

    Crypt4GH does not authenticate the order of segments, and a local file has no checksum of its plaintext: that a file
    was truncated at a segment border is not detected.
    """

    kind = "decryption"

    def __init__(self, private_keys: Sequence[bytes]) -> None:
        self._private_keys = private_keys
        self._plan: _Plan | None = None

    @property
    def name(self) -> str:
        """The plaintext does not depend on the key."""
        return self.kind

    def begin(self, source: SourceFile) -> Extent:
        """Decrypt the header and compute which ranges of the content are kept."""
        header = _read_header(source, self._private_keys)
        content = source.state.size - header.size
        ranges = kept_ranges(header.edit_list)
        self._plan = _Plan(SegmentDecryptor(header.session_keys), header.size, ranges)
        return Extent(moved=content, made=kept_size(ranges, content))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, decrypt and write a part or a piece of one."""
        plan = self._plan
        assert plan is not None, "begin() comes first"
        first = part.start // CIPHER_SEGMENT_SIZE
        source.read_into(plan.header_size + part.start, [buffer])
        for run in needed_segments(plan.ranges, first, -(-len(buffer) // CIPHER_SEGMENT_SIZE)):
            segments = buffer[(run.start - first) * CIPHER_SEGMENT_SIZE : (run.stop - first) * CIPHER_SEGMENT_SIZE]
            try:
                plaintext = plan.decryptor.open_part(segments, first_segment=run.start)
            except IntegrityError as error:
                # Reading the same disk again will not help, and no other copy is known.
                raise IntegrityError(
                    f"{source.path}: {error.message}", hint="Fetch the file again.", advice=NO_RETRY
                ) from error
            for offset, kept in map_to_result(plan.ranges, plaintext, run.start):
                target.write(offset, kept)


def _read_header(source: SourceFile, private_keys: Sequence[bytes]) -> OpenedHeader:
    limit = min(source.state.size, MAX_LOCAL_HEADER_SIZE)
    length = min(_PROBE, limit)
    while True:
        data = bytearray(length)
        source.read_into(0, [memoryview(data)])
        if header_size(data, limit=MAX_LOCAL_HEADER_SIZE) is not None or length >= limit:
            return open_header(bytes(data), *private_keys, limit=MAX_LOCAL_HEADER_SIZE)
        length = min(length * 16, limit)
