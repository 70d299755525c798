"""How the encrypted bytes of a download are processed: kept or decrypted, verified or not."""

from __future__ import annotations

import attrs

from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE, opened_size
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor
from connector.errors import IntegrityError
from connector.local.partial_file import PartialFile
from connector.parts import Part


@attrs.frozen
class Decrypt:
    """Decrypts the segments and writes the plaintext."""

    decryptor: SegmentDecryptor
    sealed_size: int
    kind: str = "download-decrypted"
    verified: bool = True

    @property
    def size(self) -> int:
        """Bytes of the plaintext."""
        return opened_size(self.sealed_size)

    def begin(self, file: PartialFile) -> None:
        """Nothing precedes the plaintext."""

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Decrypt the segments and write their plaintext."""
        first = part.start // CIPHER_SEGMENT_SIZE
        plaintext = self.decryptor.open_part(buffer, first_segment=first)
        file.write(first * SEGMENT_SIZE, plaintext)
        return plaintext

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Read plaintext."""
        plaintext = buffer[: opened_size(part.size)]
        start = part.start // CIPHER_SEGMENT_SIZE * SEGMENT_SIZE
        return [plaintext] if file.read_into(start, [plaintext]) else None


@attrs.frozen
class KeepEncrypted:
    """Writes header and encrypted segments, and decrypts each segment to check that it is authentic."""

    decryptor: SegmentDecryptor
    sealed_size: int
    header: bytes = attrs.field(repr=False)
    kind: str = "download"
    verified: bool = True

    @property
    def size(self) -> int:
        """Bytes of header and segments."""
        return len(self.header) + self.sealed_size

    def begin(self, file: PartialFile) -> None:
        """Write the header. Each response of the archive contains a different one, all with the same session keys."""
        file.write(0, [memoryview(self.header)])

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Write the segments, then decrypt them: a part that proves damaged is not recorded."""
        file.write(len(self.header) + part.start, [buffer])
        return self.decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Read segments and decrypt them; what the disk lost is fetched again."""
        if not file.read_into(len(self.header) + part.start, [buffer]):
            return None
        try:
            return self.decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError:
            return None


@attrs.frozen
class KeepUnverified(KeepEncrypted):
    """Writes header and encrypted segments, and checks only their sizes."""

    kind: str = "download-unverified"
    verified: bool = False

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Write the segments."""
        file.write(len(self.header) + part.start, [buffer])
        return []

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Trust the journal."""
        return []


PartProcessor = Decrypt | KeepEncrypted
"""Processes the parts of one file. Its methods block, and are called from several threads.

`kind` is the kind of the partial file's journal (partial files of another kind are not resumed), `size` that of the
local file in bytes, and `verified` says whether the methods return the plaintext of a part, for the sha256 of the file.
`process` raises `IntegrityError` for a segment that fails authentication, `read_back` returns `None` for a part that is
missing or damaged.
"""
