"""The content of one file in the archive: its address, its bytes, and how they are processed and hashed.

The address is known once the file is staged, and renewed before it expires. The bytes are kept or decrypted, verified
or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import attrs
import trio

from connector.clients.api_client import CachedValue, Expiring
from connector.clients.objects import UrlRefusedError
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE, Plaintext, SegmentDecryptor, opened_size
from connector.download.request import DownloadContext
from connector.errors import NO_RETRY, BrokenError, ConnectorError, IntegrityError
from connector.local.partial_file import PartialFile
from connector.parts import Part, add_pieces
from connector.transfer import Backoff, NotReadyError, Progress, RunContext, Sequencer
from connector.wire.payloads import DrsObject

_MIN_WAIT = 0.2
_MAX_WAIT = 300.0
_SHARE = 0.1
"""Of the time that a file was waited for: its next request is not before so much more of it. Where very many files are
staged, requests for them would otherwise take the archive's time for it."""
_STAGING_TIMEOUT = 86_400.0
_BACKOFF = Backoff()


class StagedObject:
    """A file in the archive that is staged or being staged.

    The wait that the archive requests (`Retry-After`) is bounded to 0.2 s to 5 min, is at least a tenth of the time
    waited so far, and is lengthened with jitter, which spreads the requests for files that were requested together.
    The whole wait for staging is bounded by a day.
    """

    def __init__(self, context: DownloadContext, accession: str) -> None:
        self._context = context
        self._accession = accession
        self._token = context.tokens.download_token(accession)
        self._address: CachedValue[DrsObject] = CachedValue(self._fetch_address)
        self._staging_since: float | None = None
        self._size = 0
        self._filled: dict[int, int] = {}

    async def get_if_staged(self) -> DrsObject:
        """The object with an address that is valid now.

        Raises:
            NotReadyError: While the archive stages it.
            BrokenError: Once that has taken longer than the timeout.
        """
        return await self._address.get()

    def required_sha256(self, drs: DrsObject) -> str:
        """The sha256 of the plaintext; `IntegrityError` if the archive states none."""
        if drs.plaintext_sha256 is None:
            raise IntegrityError(
                f"The archive states no sha256 for {self._accession}, so it cannot be verified.",
                hint="Tell the archive's operators.",
            )
        return drs.plaintext_sha256

    async def header(self) -> bytes:
        """The file's Crypt4GH header, encrypted for the user's key."""
        return await self._context.downloads.envelope(self._token, self._accession)

    def begin(self, size: int) -> None:
        """Begin to fetch the object, which has `size` bytes, from its first part."""
        self._size = size
        self._filled.clear()

    async def fetch(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fill `buffer` with `part`.

        What a failed call has received stays in the buffer, and the next call requests the rest only: otherwise a part
        would never be complete over a connection that is closed every few megabytes.
        """
        filled = self._filled.pop(part.number, 0)
        if filled:
            progress(filled)
        drs = await self.get_if_staged()
        if drs.size != self._size:
            raise IntegrityError(
                f"{self._accession} changed in the archive while it was fetched.", hint="Fetch it again."
            )
        assert drs.url is not None

        def count(size: int) -> None:
            nonlocal filled
            filled += size
            progress(size)

        try:
            start, rest = part.start + filled, buffer[filled:]
            await self._context.objects.fetch_into(drs.url, start, part.stop, rest, count, size=self._size)
        except ConnectorError as error:
            if isinstance(error, UrlRefusedError):
                self._address.refuse(drs)
            if 0 < filled < part.size:
                self._filled[part.number] = filled
            raise

    async def _fetch_address(self) -> Expiring[DrsObject]:
        self._staging_since = trio.current_time() if self._staging_since is None else self._staging_since
        try:
            found = await self._context.downloads.object(self._token, self._accession)
        except NotReadyError as error:
            waited = trio.current_time() - self._staging_since
            asked = min(max(error.seconds, _MIN_WAIT, _SHARE * waited), _MAX_WAIT)
            wait = _BACKOFF.wait_requested(asked, self._context.run.uniform)
            if trio.current_time() + wait > self._staging_since + _STAGING_TIMEOUT:
                raise BrokenError(
                    f"The archive did not stage {self._accession} within {_STAGING_TIMEOUT:g} seconds.",
                    hint="Run the same command again later.",
                ) from error
            raise NotReadyError(error.message, seconds=wait) from error
        self._staging_since = None
        return found


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
    """Writes header and encrypted segments, and checks only their sizes.

    Its partial file is that of a verified download, so each resumes the other; a verified one verifies what is there.
    """

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


_MAX_REORDER_WAIT = 0.2
"""Seconds that a part waits for those before it; longer, and one stalled connection would block all parts."""

ReadBack = Callable[[Part, memoryview], Plaintext | None]
"""Reads a written part into the buffer and returns its plaintext; `None` if it is missing or damaged. Blocks."""


class OrderedDigest:
    """Adds the plaintext of parts in their order: from memory if they arrive in order, otherwise from the disk.

    A part that arrives early waits a moment with its buffer. Then it is deferred: its buffer is freed, and it is read
    back from the disk after the part before it.
    """

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._sha256 = hashlib.sha256()
        self._sequencer = Sequencer()
        self._deferred: dict[int, Part] = {}
        self._stalled = 0  # the part that others have waited for too long: no other waits for it

    def is_next(self, number: int) -> bool:
        """Whether this part is added next."""
        return number == self._sequencer.next

    def has(self, number: int) -> bool:
        """Whether this part was added or deferred: a part that is moved again must not be counted twice."""
        return self._sequencer.is_done(number) or number in self._deferred

    async def add(self, part: Part, plaintext: Callable[[], Plaintext]) -> None:
        """Add what `plaintext` returns (it is called in a thread) after the parts before this one."""
        async with self._sequencer.in_order(part.number):
            await self._run.in_thread(lambda: add_pieces(self._sha256, plaintext()))

    async def add_or_defer(self, part: Part, plaintext: Plaintext) -> None:
        """Add the plaintext of a part that was written already, or defer it."""
        if self._sequencer.next != self._stalled:
            with trio.move_on_after(_MAX_REORDER_WAIT):
                await self._sequencer.wait(part.number)
        if self.is_next(part.number):
            await self.add(part, lambda: plaintext)
        else:
            self._deferred[part.number] = part
            self._stalled = self._sequencer.next

    async def catch_up(self, buffer: memoryview, read_back: ReadBack) -> None:
        """Add the deferred parts that are next; `buffer` must be as long as the longest of them.

        Raises:
            IntegrityError: If one of them is missing or damaged.
        """
        while (part := self._deferred.pop(self._sequencer.next, None)) is not None:
            await self.add(part, partial(_written, part, buffer[: part.size], read_back))

    def hexdigest(self) -> str:
        """The sha256 of all parts so far, lower case hex."""
        return self._sha256.hexdigest()


def _written(part: Part, buffer: memoryview, read_back: ReadBack) -> Plaintext:
    plaintext = read_back(part, buffer)
    if plaintext is None:
        raise IntegrityError(
            f"The disk no longer holds bytes {part.start} to {part.stop} as they were written.",
            hint="Check the disk, then run the same command again: those bytes are fetched again.",
            advice=NO_RETRY,
        )
    return plaintext
