"""What happens to the encrypted bytes of a download: kept or decrypted, verified or not."""

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
        """Tells the working copies of different contents apart."""

    @property
    def verified(self) -> bool:
        """Whether the methods return the whole plaintext of a part, to be checked as such."""

    @property
    def size(self) -> int:
        """Bytes of the local file."""

    def begin(self, file: PartialFile) -> None:
        """Write what precedes the parts."""

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Process and write the encrypted bytes of a part, and return their plaintext.

        Raises:
            IntegrityError: For a segment that does not authenticate.
        """

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """The plaintext of a part that was written earlier, `None` if it is not there as it was written."""


@attrs.frozen
class Decrypt:
    """The plaintext is kept."""

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
        """Open the segments and write what was in them."""
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
    """Envelope and segments are kept as they are, and each segment is opened to see that it is authentic."""

    decryptor: SegmentDecryptor
    sealed_size: int
    envelope: bytes = attrs.field(repr=False)
    kind: str = "download"
    verified: bool = True

    @property
    def size(self) -> int:
        """Bytes of envelope and segments."""
        return len(self.envelope) + self.sealed_size

    def begin(self, file: PartialFile) -> None:
        """Write the header. The archive makes another one each time; each of them opens the same segments."""
        file.write(0, [memoryview(self.envelope)])

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Write the segments, then open them: a part that then proves damaged is not recorded."""
        file.write(len(self.envelope) + part.start, [buffer])
        return self.decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Read segments and open them; what the disk lost is fetched again."""
        if not file.read_into(len(self.envelope) + part.start, [buffer]):
            return None
        try:
            return self.decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError:
            return None


@attrs.frozen
class KeepUnverified:
    """Envelope and segments are kept as they are, and only their sizes are checked."""

    sealed: KeepEncrypted
    kind: str = "download-unverified"
    verified: bool = False

    @property
    def size(self) -> int:
        """Bytes of envelope and segments."""
        return self.sealed.size

    def begin(self, file: PartialFile) -> None:
        """Write the envelope."""
        self.sealed.begin(file)

    def process(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext:
        """Write the segments."""
        file.write(len(self.sealed.envelope) + part.start, [buffer])
        return []

    def read_back(self, part: Part, buffer: memoryview, file: PartialFile) -> Plaintext | None:
        """Trust the journal."""
        return []
