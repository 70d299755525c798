"""One file on its way from the archive to the local disk, as a transfer of the scheduler."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from connector.clients.downloads import DownloadClient
from connector.clients.leases import CachedValue
from connector.clients.objects import ObjectClient
from connector.clients.work_orders import WorkOrder
from connector.crypt4gh.header import OpenedHeader, open_header
from connector.crypt4gh.layout import fit_download_part_size, opened_size
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor
from connector.download.content import Content, Decrypted, Sealed, Unverified
from connector.download.digest import OrderedDigest
from connector.download.existing import find_existing
from connector.download.fetching import PartFetcher
from connector.download.request import DownloadedFile, DownloadRequest
from connector.download.staging import StagedObject
from connector.errors import NO_RETRY, IntegrityError, RetryPolicy
from connector.local.finished import FinishedFile, FinishedFiles
from connector.local.partial_file import PartialFile, check_free, check_target
from connector.parts import Part, Parts
from connector.transfer import GuardedObserver, Observer, Progress, run_concurrently
from connector.wire.payloads import DrsObject

T = TypeVar("T")

_DAMAGED = 3
"""How often one part may arrive damaged until the source is held to be at fault, and not the way."""


@attrs.frozen
class _Opened:
    """What is known once the archive has answered."""

    content: Content
    fetcher: PartFetcher
    file: PartialFile
    journaled: bool
    sha256: str


class Download:
    """Fetches the parts, authenticates each segment, writes, and checks the sha256 of the whole plaintext.

    With ``decrypt`` the plaintext is written; else the envelope and the segments as they are. The sha256 is fed in the
    order of the parts either way: segments carry no order of their own, so this is what catches a swapped or missing
    one. Without ``verify`` segments that are kept as they are are only counted. Nothing is fetched of a file that is
    there already; ``notes`` tell what earlier runs finished in the output folder.
    """

    def __init__(
        self,
        request: DownloadRequest,
        *,
        order: CachedValue[WorkOrder],
        downloads: DownloadClient,
        objects: ObjectClient,
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
        self._order = order
        self._downloads = downloads
        self._objects = objects
        self._private_key = private_key
        self._notes = notes
        self._part_size = part_size
        self._threads = threads
        self._observer = GuardedObserver.of(observer)
        self._staged = StagedObject(
            downloads, order, request.accession, patience=patience, waiting=self._waiting, uniform=uniform
        )
        self._digest = OrderedDigest(threads)
        self._damaged: Counter[int] = Counter()
        self._envelope: bytes | None = None
        self._state: _Opened | None = None
        self._file: PartialFile | None = None
        self._there: DownloadedFile | None = None

    async def prepare(self) -> None:
        """A download is let in at once: nothing to do before."""

    async def open(self) -> Sequence[Part]:
        """Wait for staging, get the envelope, begin or go on with the working copy."""
        self._digest = OrderedDigest(self._threads)
        self._damaged.clear()
        target = self._request.target
        self._there = await self._already_there()
        if self._there is not None:
            return ()

        def check() -> None:
            check_target(target, overwrite=self._request.overwrite)
            check_free(target)

        await self._in_thread(check)
        drs, data = await self._ask()
        envelope = self._checked_envelope(drs, data)
        sha256 = drs.plaintext_sha256
        if sha256 is None:
            raise IntegrityError(
                f"The archive states no sha256 for {self.label}, so it could not be verified.",
                hint="Tell the archive's operators.",
            )
        content = self._content(drs, data, SegmentDecryptor(envelope.session_keys))
        parts = Parts(drs.size, fit_download_part_size(drs.size, self._part_size))
        facts = {"accession": self.label, "size": drs.size, "sha256": sha256, "part_size": parts.part_size}
        journaled = len(parts) > 1

        def begin() -> PartialFile:
            self._file = file = PartialFile.open(
                target, size=content.size, kind=content.kind, facts=facts if journaled else None
            )
            content.begin(file)
            return file

        file = await self._in_thread(begin)
        fetcher = PartFetcher(self._staged, self._objects, label=self.label, size=drs.size)
        self._state = _Opened(content, fetcher, file, journaled, sha256)
        self._observer.opened(self.label, drs.size)
        self._observer.kept(self.label, sum(parts[number - 1].size for number in file.done))
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fetch one part, or read it back if an earlier run has it; open, write, hash it in its turn or later."""
        try:
            await self._move(part, buffer, progress)
        except IntegrityError as error:
            self._damaged[part.number] += 1
            if self._damaged[part.number] >= _DAMAGED:
                raise error.with_advice(NO_RETRY) from error.__cause__
            raise

    async def _move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        state, digest, number = self._opened, self._digest, part.number
        plaintext = await self._read_back(part, buffer)
        if plaintext is None:
            await state.fetcher.fetch(part, buffer, progress)
            if state.content.verified and digest.is_next(number):
                # Nothing to wait for in between, as with every small file: one way to a thread and back.
                await digest.take(part, lambda: state.content.take(part, buffer, state.file))
            else:
                plaintext = await self._in_thread(lambda: state.content.take(part, buffer, state.file))
        if plaintext is not None and state.content.verified and not digest.has(number):
            await digest.take_or_leave(part, plaintext)
        if number not in state.file.done and state.journaled:
            await self._in_thread(lambda: state.file.record(number, {}))
        await digest.catch_up(buffer, lambda left, view: state.content.read_back(left, view, state.file))

    async def finish(self) -> DownloadedFile:
        """Check the sha256 of the whole and give the file its name.

        Segments that are each authentic and yet not in their places show only here, and not which: then the whole is
        worth to be fetched anew, once, which puts right what went wrong on the way or on the disk.
        """
        if self._there is not None:
            return self._there
        state, target = self._opened, self._request.target
        sha256 = self._digest.hexdigest()
        if state.content.verified and sha256 != state.sha256:
            await self._in_thread(state.file.discard)
            self._envelope = None
            raise IntegrityError(
                f"{self.label} is not what the archive says: its sha256 is {sha256} instead of {state.sha256}.",
                hint="Nothing was kept. If fetching it anew does not help, tell the archive.",
                advice=RetryPolicy(again=False, restart="damaged"),
            )
        result = DownloadedFile(self.label, target, state.content.size, state.sha256, state.content.verified)
        await self._in_thread(
            lambda: state.file.complete(
                overwrite=self._request.overwrite, note=lambda written: self._note(result, written.st_mtime_ns)
            )
        )
        return result

    async def close(self) -> None:
        """Let go of the working copy; unfinished, it stays with its journal."""
        file, self._file = self._file, None
        if file is not None:
            await self._in_thread(file.close)

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    async def _already_there(self) -> DownloadedFile | None:
        """The target, if it is there and is what would be fetched, as far as its size and the notes tell."""
        request = self._request
        existing = await self._in_thread(lambda: find_existing(request, self._notes))
        if existing is None or (request.overwrite and existing.note is None):
            return None
        drs = await self._staged.get_if_staged()
        compared = existing.compare(drs, request)
        if compared is None:
            return None
        sha256 = drs.plaintext_sha256 or ""
        there = DownloadedFile(self.label, existing.target, existing.size, sha256, compared == "record", compared)
        await self._in_thread(lambda: self._note(there, existing.mtime_ns))
        return there

    def _note(self, result: DownloadedFile, mtime_ns: int) -> None:
        note = FinishedFile(result.size, mtime_ns, result.sha256, self.label, result.verified)
        self._notes.add(note, result.path.name)

    async def _ask(self) -> tuple[DrsObject, bytes]:
        """Ask for address and envelope at once: two round trips that need not wait for each other.

        An envelope that came is kept while the file is being staged.
        """
        found: list[DrsObject] = []

        async def address() -> None:
            found.append(await self._staged.get_if_staged())

        async def envelope() -> None:
            if self._envelope is None:
                self._envelope = await self._downloads.envelope(self._order, self.label)

        await run_concurrently(address, envelope)
        assert self._envelope is not None
        return found[0], self._envelope

    def _checked_envelope(self, drs: DrsObject, data: bytes) -> OpenedHeader:
        envelope = open_header(data, self._private_key)
        opened_size(drs.size)
        if envelope.size != len(data) or envelope.edit_list is not None:
            raise IntegrityError(
                f"The envelope of {self.label} has more to it than a download can have.",
                hint="Tell the archive's operators.",
            )
        return envelope

    def _content(self, drs: DrsObject, envelope: bytes, opener: SegmentDecryptor) -> Content:
        if self._request.decrypt:
            return Decrypted(opener, drs.size)
        sealed = Sealed(opener, drs.size, envelope)
        return sealed if self._request.verify else Unverified(sealed)

    async def _read_back(self, part: Part, buffer: memoryview) -> Plaintext | None:
        """The plaintext of a part that an earlier run has written, ``None`` if it has not, or not all of it."""
        state = self._opened
        if part.number not in state.file.done:
            return None
        plaintext = await self._in_thread(lambda: state.content.read_back(part, buffer, state.file))
        # Reading what is kept takes a while, in which it is not stalled; what turns out to be damaged is not kept.
        self._observer.progressed(self.label, 0)
        if plaintext is None:
            self._observer.kept(self.label, -part.size)
        return plaintext

    def _waiting(self, delay: float) -> None:
        self._observer.waiting(self.label, delay, "The archive is staging the file.")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
