"""A file that is there already, read to see whether it is what the archive has, as a transfer of the scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from connector.clients.downloads import DownloadClient
from connector.clients.leases import CachedValue
from connector.clients.work_orders import WorkOrder
from connector.crypt4gh.header import open_header
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, align_to_segments
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor
from connector.download.digest import OrderedDigest
from connector.download.existing import ExistingFile, find_existing, read_envelope
from connector.download.request import DownloadedFile, DownloadRequest
from connector.download.staging import StagedObject
from connector.errors import FileExistsAlready, IntegrityError, LocalError
from connector.local.finished import FinishedFile, FinishedFiles
from connector.local.source_file import SourceFile
from connector.parts import Part, Parts
from connector.transfer import Observer, Progress

T = TypeVar("T")


@attrs.frozen
class _Opened:
    """``opener`` and ``shift`` (bytes of the envelope) are those of the file itself: each download has another."""

    source: SourceFile
    shift: int
    opener: SegmentDecryptor | None
    sha256: str


class Verification:
    """Hashes the plaintext of a file in the order of its parts and compares it with the archive's sha256.

    What is encrypted is opened in memory. Nothing is fetched but the archive's description of the file.
    """

    def __init__(
        self,
        request: DownloadRequest,
        *,
        order: CachedValue[WorkOrder],
        downloads: DownloadClient,
        private_key: bytes,
        notes: FinishedFiles,
        part_size: int,
        threads: trio.CapacityLimiter,
        observer: Observer,
        patience: float = 86_400.0,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.label = request.accession
        self._request = request
        self._staged = StagedObject(
            downloads, order, request.accession, patience=patience, waiting=self._waiting, uniform=uniform
        )
        self._private_key = private_key
        self._notes = notes
        self._part_size = align_to_segments(part_size)
        self._threads = threads
        self._observer = observer
        self._digest = OrderedDigest(threads)
        self._state: _Opened | None = None
        self._wrong = False

    async def prepare(self) -> None:
        """Nothing to do before."""

    async def open(self) -> Sequence[Part]:
        """Compare the sizes and open the file; one that has vanished meanwhile is an error of this machine."""
        request = self._request
        existing = await self._in_thread(lambda: find_existing(request, self._notes))
        if existing is None:
            raise LocalError(f"{request.target} is gone.", hint="Run the same command again: it is fetched.")
        drs = await self._staged.get_if_staged()
        sha256 = drs.plaintext_sha256
        if sha256 is None:
            raise IntegrityError(
                f"The archive states no sha256 for {self.label}, so it cannot be verified.",
                hint="Tell the archive's operators.",
            )
        try:
            existing.compare(drs, request)
        except FileExistsAlready as error:
            raise self._differs("its size is another") from error
        self._state = await self._in_thread(lambda: self._open(existing, sha256))
        content_size = existing.content_size
        assert content_size is not None, "or its size would be another"
        self._observer.opened(self.label, content_size)
        return Parts(content_size, self._part_size)

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read one part and hash its plaintext in its turn."""
        await self._digest.take(part, await self._in_thread(lambda: self._read(part, buffer)))
        progress(part.size)

    async def finish(self) -> DownloadedFile:
        """Compare the digests."""
        state, request = self._opened, self._request
        await self._in_thread(state.source.check_unchanged)
        sha256 = self._digest.hexdigest()
        if sha256 != state.sha256:
            raise self._differs(f"its sha256 is {sha256} instead of {state.sha256}")
        now = state.source.state
        note = FinishedFile(now.size, now.mtime_ns, sha256, self.label)
        await self._in_thread(lambda: self._notes.add(note, request.target.name))
        return DownloadedFile(self.label, request.target, now.size, sha256, True, "sha256")

    async def close(self) -> None:
        """Close the file. What was noted of one that proved wrong holds no more."""
        state, self._state = self._state, None
        if state is not None:
            await self._in_thread(state.source.close)
        if self._wrong:
            await self._in_thread(lambda: self._notes.forget(self._request.target.name))

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    def _open(self, existing: ExistingFile, sha256: str) -> _Opened:
        opener, shift = None, 0
        if not self._request.decrypt:
            envelope = read_envelope(existing.target) or b""
            opened = open_header(envelope, self._private_key)
            opener, shift = SegmentDecryptor(opened.session_keys), opened.size
        return _Opened(SourceFile.open(existing.target), shift, opener, sha256)

    def _read(self, part: Part, buffer: memoryview) -> Callable[[], Plaintext]:
        state = self._opened
        state.source.read_into(state.shift + part.start, [buffer])
        if state.opener is None:
            return lambda: [buffer]
        try:
            plaintext = state.opener.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError as error:
            raise self._differs(error.message) from error
        return lambda: plaintext

    def _differs(self, why: str) -> IntegrityError:
        self._wrong = True
        return IntegrityError(
            f"{self._request.target} is not what the archive has under {self.label}: {why.rstrip('.')}.",
            hint="Move it away or delete it, then run the same command again: it is fetched again.",
        )

    def _waiting(self, delay: float) -> None:
        self._observer.waiting(self.label, delay, "The archive is staging the file.")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
