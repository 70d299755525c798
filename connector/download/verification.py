"""The verification of an existing file against the archive, as a transfer of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from connector.crypt4gh.keys import open_header
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, Plaintext, SegmentDecryptor, align_to_segments
from connector.download.content import OrderedDigest, StagedObject
from connector.download.request import (
    DownloadContext,
    DownloadedFile,
    DownloadRequest,
    ExistingFile,
    find_existing,
    read_header,
)
from connector.errors import FileExistsAlready, IntegrityError, LocalError
from connector.local.files import SourceFile
from connector.local.state_folder import FinishedFile
from connector.parts import Part, Parts
from connector.transfer import Progress


@attrs.frozen
class _Opened:
    """`decryptor` and `shift` (bytes of the header) are those of the local file: each download has another header."""

    source: SourceFile
    shift: int
    decryptor: SegmentDecryptor | None
    sha256: str


class Verification:
    """Hashes the plaintext of a file in the order of its parts and compares it with the archive's sha256.

    Encrypted files are decrypted in memory. Only the archive's description of the file is fetched.
    """

    def __init__(self, request: DownloadRequest, context: DownloadContext) -> None:
        self.label = request.accession
        self._request = request
        self._context = context
        self._run = context.run
        self._staged = StagedObject(context, request.accession)
        self._digest = OrderedDigest(context.run)
        self._state: _Opened | None = None
        self._wrong = False

    async def prepare(self) -> None:
        """Do nothing."""

    async def open(self) -> Sequence[Part]:
        """Compare the sizes and open the file; `LocalError` if it was removed meanwhile."""
        request = self._request
        existing = await self._run.in_thread(find_existing, request, self._context.finished)
        if existing is None:
            raise LocalError(f"{request.target} is gone.", hint="Run the same command again to fetch it.")
        drs = await self._staged.get_if_staged()
        sha256 = self._staged.required_sha256(drs)
        try:
            existing.compare(drs, request)
        except FileExistsAlready as error:
            raise self._differs("its size is another") from error
        self._state = await self._run.in_thread(self._open, existing, sha256)
        content_size = existing.content_size
        assert content_size is not None, "otherwise the sizes would differ"
        self._run.observer.opened(self.label, content_size)
        return Parts(content_size, align_to_segments(self._run.part_size))

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read one part and add its plaintext to the digest."""
        await self._digest.add(part, await self._run.in_thread(self._read, part, buffer))
        progress(part.size)

    async def finish(self) -> DownloadedFile:
        """Compare the digests."""
        state, request = self._opened, self._request
        await self._run.in_thread(state.source.check_unchanged)
        sha256 = self._digest.hexdigest()
        if sha256 != state.sha256:
            raise self._differs(f"its sha256 is {sha256} instead of {state.sha256}")
        now = state.source.state
        record = FinishedFile(now.size, now.mtime_ns, sha256, self.label)
        await self._run.in_thread(self._context.finished.add, record, request.target.name)
        return DownloadedFile(self.label, request.target, now.size, sha256, True, "sha256")

    async def close(self) -> None:
        """Close the file. The record of one that differs is removed."""
        state, self._state = self._state, None
        if state is not None:
            await self._run.in_thread(state.source.close)
        if self._wrong:
            await self._run.in_thread(self._context.finished.forget, self._request.target.name)

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    def _open(self, existing: ExistingFile, sha256: str) -> _Opened:
        decryptor, shift = None, 0
        if not self._request.decrypt:
            header = open_header(read_header(existing.target) or b"", self._context.private_key)
            decryptor, shift = SegmentDecryptor(header.session_keys), header.size
        return _Opened(SourceFile.open(existing.target), shift, decryptor, sha256)

    def _read(self, part: Part, buffer: memoryview) -> Callable[[], Plaintext]:
        state = self._opened
        state.source.read_into(state.shift + part.start, [buffer])
        if state.decryptor is None:
            return lambda: [buffer]
        try:
            plaintext = state.decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError as error:
            raise self._differs(error.message) from error
        return lambda: plaintext

    def _differs(self, why: str) -> IntegrityError:
        self._wrong = True
        return IntegrityError(
            f"{self._request.target} is not what the archive has under {self.label}: {why.rstrip('.')}.",
            hint="Move it away or delete it, then run the same command again: it is fetched again.",
        )
