"""How the encrypted bytes of a download are processed: kept or decrypted, verified or not."""

from __future__ import annotations

from typing import Protocol

import attrs

from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE, opened_size
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor
from connector.errors import IntegrityError
from connector.local.partial_file import PartialFile
from connector.parts import Part


class PartProcessor(Protocol):
    """Processes the parts of one file. Methods block, and are called from several threads."""

    @property
    def kind(self) -> str:
        """The kind of the partial file's journal; partial files of another kind are not resumed."""

    @property
    def verified(self) -> bool:
        """Whether the methods return the plaintext of a part, for the sha256 of the whole."""

    @property
    def size(self) -> int:
        """Bytes of the local file."""

    def begin(self, file: PartialFile) -> None:
        """Write what precedes the parts."""

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Process and write the encrypted bytes of a part, and return their plaintext.

        Raises:
            IntegrityError: For a segment that fails authentication.
        """

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """The plaintext of a part that was written earlier, `None` if it is missing or damaged."""


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
class KeepUnverified:
    """Writes header and encrypted segments, and checks only their sizes."""

    encrypted: KeepEncrypted
    kind: str = "download-unverified"
    verified: bool = False

    @property
    def size(self) -> int:
        """Bytes of header and segments."""
        return self.encrypted.size

    def begin(self, file: PartialFile) -> None:
        """Write the header."""
        self.encrypted.begin(file)

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Write the segments."""
        file.write(len(self.encrypted.header) + part.start, [buffer])
        return []

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Trust the journal."""
        return []
