"""Decrypting a local Crypt4GH file."""

from __future__ import annotations

import attrs

from connector.crypt4gh.edit_list import Kept, kept_runs, place
from connector.crypt4gh.header import MAX_ENVELOPE_SIZE, OpenedHeader, header_size, open_header
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, opened_size
from connector.crypt4gh.segments import SegmentDecryptor
from connector.errors import NO_RETRY, IntegrityError
from connector.local.partial_file import PartialFile
from connector.local.source_file import SourceFile
from connector.parts import Part
from connector.recrypt.job import Extent

_PROBE = 4096
"""Bytes read at first to find the envelope's size: more than most envelopes have."""


@attrs.frozen
class _Plan:
    opener: SegmentDecryptor
    header_size: int
    runs: tuple[Kept, ...]


class Decryption:
    """The recipe that opens segments; an edit list in the envelope is obeyed.

    The order of segments is not authenticated by Crypt4GH, and a local file comes with no checksum of its plaintext:
    a file cut at a segment border is noticed only by whoever knows its size.
    """

    kind = "decryption"

    def __init__(self, private_key: bytes) -> None:
        self._private_key = private_key
        self._plan: _Plan | None = None

    @property
    def name(self) -> str:
        """Whichever key opens it, the plaintext is the same."""
        return self.kind

    def begin(self, source: SourceFile) -> Extent:
        """Open the envelope and find out what of the content counts."""
        envelope = _read_envelope(source, self._private_key)
        content = source.state.size - envelope.size
        runs = kept_runs(envelope.edit_list, opened_size(content))
        self._plan = _Plan(SegmentDecryptor(envelope.session_keys), envelope.size, runs)
        return Extent(moved=content, made=sum(run.stop - run.start for run in runs))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, open and write a part or a piece of one."""
        plan = self._plan
        assert plan is not None, "begin() comes first"
        first = part.start // CIPHER_SEGMENT_SIZE
        source.read_into(plan.header_size + part.start, [buffer])
        try:
            plaintext = plan.opener.open_part(buffer, first_segment=first)
        except IntegrityError as error:
            # Reading the same disk again will not help, and nobody but its owner has another copy.
            raise IntegrityError(
                f"{source.path}: {error.message}", hint="Fetch the file again.", advice=NO_RETRY
            ) from error
        for offset, kept in place(plan.runs, plaintext, first):
            target.write(offset, kept)


def _read_envelope(source: SourceFile, private_key: bytes) -> OpenedHeader:
    length = min(_PROBE, source.state.size)
    while True:
        data = bytearray(length)
        source.read_into(0, [memoryview(data)])
        if header_size(bytes(data)) is not None or length >= min(source.state.size, MAX_ENVELOPE_SIZE):
            return open_header(bytes(data), private_key)
        length = min(length * 16, source.state.size, MAX_ENVELOPE_SIZE)
