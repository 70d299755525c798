"""One file on its way from the archive to the local disk, as a transfer of the scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from connector.crypt4gh.header import OpenedHeader, open_header
from connector.crypt4gh.layout import fit_download_part_size, opened_size
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor
from connector.download.content import Decrypt, KeepEncrypted, KeepUnverified, PartProcessor
from connector.download.digest import OrderedDigest
from connector.download.existing import find_existing
from connector.download.request import DownloadContext, DownloadedFile, DownloadRequest
from connector.download.staging import StagedObject
from connector.errors import NO_RETRY, IntegrityError, RetryPolicy
from connector.local.finished import FinishedFile
from connector.local.partial_file import PartialFile, check_free, check_target
from connector.parts import Part, Parts
from connector.transfer import Progress, run_concurrently
from connector.wire.payloads import DrsObject

_DAMAGED = 3
"""How often one part may arrive damaged before the source is taken to be damaged, not the connection."""


@attrs.frozen
class _Opened:
    """What is known once the archive has answered."""

    processor: PartProcessor
    file: PartialFile
    journaled: bool
    sha256: str


class Download:
    """Fetches the parts, authenticates each segment, writes, and checks the sha256 of the whole plaintext.

    With `decrypt` the plaintext is written, otherwise the envelope and the segments as they are. The sha256 is taken
    in the order of the parts either way: segments carry no order, so it detects a swapped or missing one. Without
    `verify` encrypted segments are only counted. Nothing is fetched of a file that is there already.
    """

    def __init__(self, request: DownloadRequest, context: DownloadContext) -> None:
        self.label = request.accession
        self._request = request
        self._context = context
        self._run = context.run
        self._staged = StagedObject(context, request.accession)
        self._digest = OrderedDigest(context.run)
        self._damaged: Counter[int] = Counter()
        self._envelope: bytes | None = None
        self._state: _Opened | None = None
        self._file: PartialFile | None = None
        self._there: DownloadedFile | None = None

    async def prepare(self) -> None:
        """Nothing to prepare: an archive allows any number of open downloads."""

    async def open(self) -> Sequence[Part]:
        """Learn the address, or that the file is being staged; get the envelope; begin or resume the partial file."""
        self._digest = OrderedDigest(self._run)
        self._damaged.clear()
        target = self._request.target
        self._there = await self._already_there()
        if self._there is not None:
            return ()

        def check() -> None:
            check_target(target, overwrite=self._request.overwrite)
            check_free(target)

        await self._run.in_thread(check)
        drs, data = await self._ask()
        envelope = self._checked_envelope(drs, data)
        sha256 = drs.plaintext_sha256
        if sha256 is None:
            raise IntegrityError(
                f"The archive states no sha256 for {self.label}, so it could not be verified.",
                hint="Tell the archive's operators.",
            )
        processor = self._processor(drs, data, SegmentDecryptor(envelope.session_keys))
        parts = Parts(drs.size, fit_download_part_size(drs.size, self._run.part_size))
        facts = {"accession": self.label, "size": drs.size, "sha256": sha256, "part_size": parts.part_size}
        journaled = len(parts) > 1

        def begin() -> PartialFile:
            self._file = file = PartialFile.open(
                target, size=processor.size, kind=processor.kind, facts=facts if journaled else None
            )
            processor.begin(file)
            return file

        file = await self._run.in_thread(begin)
        self._staged.begin(drs.size)
        self._state = _Opened(processor, file, journaled, sha256)
        self._run.observer.opened(self.label, drs.size)
        self._run.observer.kept(self.label, sum(parts[number - 1].size for number in file.done))
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fetch one part, or read it back if an earlier run has it; open, write and hash it."""
        state, digest, number = self._opened, self._digest, part.number
        try:
            plaintext = await self._read_back(part, buffer)
            if plaintext is None:
                await self._staged.fetch(part, buffer, progress)
                if state.processor.verified and digest.is_next(number):
                    # Nothing to wait for in between, as with every small file: one call in a thread.
                    await digest.add(part, lambda: state.processor.process(part, buffer, state.file))
                else:
                    plaintext = await self._run.in_thread(lambda: state.processor.process(part, buffer, state.file))
            if plaintext is not None and state.processor.verified and not digest.has(number):
                await digest.add_or_defer(part, plaintext)
            if number not in state.file.done and state.journaled:
                await self._run.in_thread(lambda: state.file.record(number, {}))
            await digest.catch_up(buffer, lambda deferred, view: state.processor.read_back(deferred, view, state.file))
        except IntegrityError as error:
            self._damaged[number] += 1
            if self._damaged[number] >= _DAMAGED:
                raise error.with_advice(NO_RETRY) from error.__cause__
            raise

    async def finish(self) -> DownloadedFile:
        """Check the sha256 of the whole and give the file its name.

        Authentic segments in the wrong places are detected only here, and not which: the whole is fetched again, once,
        which repairs what went wrong on the connection or on the disk.
        """
        if self._there is not None:
            return self._there
        state, target = self._opened, self._request.target
        sha256 = self._digest.hexdigest()
        if state.processor.verified and sha256 != state.sha256:
            await self._run.in_thread(state.file.discard)
            self._envelope = None
            raise IntegrityError(
                f"{self.label} is not what the archive says: its sha256 is {sha256} instead of {state.sha256}.",
                hint="Nothing was kept. If fetching it again does not help, tell the archive.",
                advice=RetryPolicy(again=False, restart="damaged"),
            )
        result = DownloadedFile(self.label, target, state.processor.size, state.sha256, state.processor.verified)
        await self._run.in_thread(
            lambda: state.file.complete(
                overwrite=self._request.overwrite, before_rename=lambda written: self._note(result, written.st_mtime_ns)
            )
        )
        return result

    async def close(self) -> None:
        """Close the partial file; unfinished, it stays with its journal."""
        file, self._file = self._file, None
        if file is not None:
            await self._run.in_thread(file.close)

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    async def _already_there(self) -> DownloadedFile | None:
        """The target, if it is there and is what would be fetched, as far as its size and the notes tell."""
        request = self._request
        existing = await self._run.in_thread(lambda: find_existing(request, self._context.notes))
        if existing is None or (request.overwrite and existing.note is None):
            return None
        drs = await self._staged.get_if_staged()
        compared = existing.compare(drs, request)
        if compared is None:
            return None
        sha256 = drs.plaintext_sha256 or ""
        there = DownloadedFile(self.label, existing.target, existing.size, sha256, compared == "record", compared)
        await self._run.in_thread(lambda: self._note(there, existing.mtime_ns))
        return there

    def _note(self, result: DownloadedFile, mtime_ns: int) -> None:
        note = FinishedFile(result.size, mtime_ns, result.sha256, self.label, result.verified)
        self._context.notes.add(note, result.path.name)

    async def _ask(self) -> tuple[DrsObject, bytes]:
        """Ask for address and envelope at once: neither needs the other.

        An envelope that came is kept while the file is being staged.
        """
        found: list[DrsObject] = []

        async def address() -> None:
            found.append(await self._staged.get_if_staged())

        async def envelope() -> None:
            if self._envelope is None:
                self._envelope = await self._staged.envelope()

        await run_concurrently(address, envelope)
        assert self._envelope is not None
        return found[0], self._envelope

    def _checked_envelope(self, drs: DrsObject, data: bytes) -> OpenedHeader:
        envelope = open_header(data, self._context.private_key)
        opened_size(drs.size)
        if envelope.size != len(data) or envelope.edit_list is not None:
            raise IntegrityError(
                f"The envelope of {self.label} has more to it than a download can have.",
                hint="Tell the archive's operators.",
            )
        return envelope

    def _processor(self, drs: DrsObject, envelope: bytes, decryptor: SegmentDecryptor) -> PartProcessor:
        if self._request.decrypt:
            return Decrypt(decryptor, drs.size)
        kept = KeepEncrypted(decryptor, drs.size, envelope)
        return kept if self._request.verify else KeepUnverified(kept)

    async def _read_back(self, part: Part, buffer: memoryview) -> Plaintext | None:
        """The plaintext of a part that an earlier run has written, `None` if it has not, or not all of it."""
        state = self._opened
        if part.number not in state.file.done:
            return None
        plaintext = await self._run.in_thread(lambda: state.processor.read_back(part, buffer, state.file))
        # Reading back is progress, too; what turns out to be damaged is not kept.
        self._run.observer.progressed(self.label, 0)
        if plaintext is None:
            self._run.observer.kept(self.label, -part.size)
        return plaintext
