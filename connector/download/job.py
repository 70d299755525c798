"""Downloads as transfers: one file, and the files of one command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from connector.crypt4gh.keys import OpenedHeader, open_header
from connector.crypt4gh.segments import Plaintext, SegmentDecryptor, fit_download_part_size, opened_size
from connector.download.content import (
    Decrypt,
    KeepEncrypted,
    KeepUnverified,
    OrderedDigest,
    PartProcessor,
    StagedObject,
)
from connector.download.request import (
    DownloadContext,
    DownloadedFile,
    DownloadRequest,
    find_existing,
    finished_before,
    target_exists,
)
from connector.errors import NO_RETRY, IntegrityError, RetryPolicy
from connector.local.partial_file import PartialFile, unfinished_facts
from connector.local.state_folder import FinishedFile
from connector.local.targets import check_free, check_target
from connector.parts import Part, Parts
from connector.transfer import Outcome, Progress, Scheduler, run_concurrently
from connector.wire.payloads import DrsObject

_MAX_DAMAGED = 3
"""How often one part may arrive damaged before the archive's copy, not the connection, counts as damaged."""


@attrs.frozen
class _Opened:
    """The state of an open download."""

    processor: PartProcessor
    file: PartialFile
    journaled: bool
    sha256: str


class Download:
    """Fetches the parts, authenticates each segment, writes it, and checks the sha256 of the whole plaintext.

    With `decrypt` the plaintext is written, otherwise header and encrypted segments. The sha256 is computed in either
    case, since it detects swapped or missing segments, whose order is not authenticated. Without `verify` only the size
    of what stays encrypted is checked. A file that exists already is not fetched.
    """

    def __init__(self, request: DownloadRequest, context: DownloadContext) -> None:
        self.label = request.accession
        self._request = request
        self._context = context
        self._run = context.run
        self._staged = StagedObject(context, request.accession)
        self._digest = OrderedDigest(context.run)
        self._damaged: Counter[int] = Counter()
        self._header: bytes | None = None
        self._opened: _Opened
        self._file: PartialFile | None = None
        self._existing: DownloadedFile | None = None

    async def prepare(self) -> None:
        """Do nothing: an archive allows any number of open downloads."""

    async def open(self) -> Sequence[Part]:
        """Fetch the address and the header, unless the file is being staged; create or resume the partial file."""
        self._digest = OrderedDigest(self._run)
        self._damaged.clear()
        target = self._request.target
        self._existing = await self._already_there()
        if self._existing is not None:
            return ()

        def check() -> None:
            check_target(target, overwrite=self._request.overwrite)
            check_free(target)

        await self._run.in_thread(check)
        drs, data = await self._fetch_address_and_header()
        header = self._checked_header(drs, data)
        sha256 = self._staged.required_sha256(drs)
        processor = self._processor(drs, data, SegmentDecryptor(header.session_keys))
        facts: dict[str, Any] = {"accession": self.label, "size": drs.size, "sha256": sha256}
        part_size = await self._run.in_thread(self._choose_part_size, drs.size, processor.kind, facts)
        parts = Parts(drs.size, part_size)
        facts |= {"part_size": part_size}
        journaled = len(parts) > 1

        def begin() -> PartialFile:
            self._file = file = PartialFile.open(
                target, size=processor.size, kind=processor.kind, facts=facts if journaled else None
            )
            processor.begin(file)
            return file

        file = await self._run.in_thread(begin)
        self._staged.begin(drs.size)
        self._opened = _Opened(processor, file, journaled, sha256)
        self._run.observer.opened(self.label, drs.size)
        self._run.observer.kept(self.label, sum(parts[number - 1].size for number in file.done))
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fetch one part, or read it back if an earlier run wrote it; decrypt, write and hash it."""
        state, digest, number = self._opened, self._digest, part.number
        try:
            plaintext = await self._read_back(part, buffer)
            if plaintext is None:
                await self._staged.fetch(part, buffer, progress)
                if state.processor.verified and digest.is_next(number):
                    # The usual case of small files: a single call in a thread.
                    await digest.add(part, lambda: state.processor.process(part, buffer, state.file))
                else:
                    plaintext = await self._run.in_thread(state.processor.process, part, buffer, state.file)
            if plaintext is not None and state.processor.verified and not digest.has(number):
                await digest.add_or_defer(part, plaintext)
            if number not in state.file.done and state.journaled:
                await self._run.in_thread(state.file.record, number)
            await digest.catch_up(buffer, lambda deferred, view: state.processor.read_back(deferred, view, state.file))
        except IntegrityError as error:
            self._damaged[number] += 1
            if self._damaged[number] >= _MAX_DAMAGED:
                raise error.with_advice(NO_RETRY) from error.__cause__
            raise

    async def finish(self) -> DownloadedFile:
        """Check the sha256 of the whole and rename the file to its target.

        Authentic segments in the wrong places are detected only here, but not which they are: the whole file is fetched
        again, once, which repairs what was damaged in transit or on the disk.
        """
        if self._existing is not None:
            return self._existing
        state, target = self._opened, self._request.target
        sha256 = self._digest.hexdigest()
        if state.processor.verified and sha256 != state.sha256:
            await self._run.in_thread(state.file.discard)
            self._header = None
            raise IntegrityError(
                f"{self.label} is not what the archive says: its sha256 is {sha256} instead of {state.sha256}.",
                hint="Nothing was kept. If fetching it again does not help, tell the archive.",
                advice=RetryPolicy(again=False, restart="damaged"),
            )
        result = DownloadedFile(self.label, target, state.processor.size, state.sha256, state.processor.verified)
        await self._run.in_thread(
            lambda: state.file.complete(
                overwrite=self._request.overwrite,
                before_rename=lambda written: self._record(result, written.st_mtime_ns),
            )
        )
        return result

    async def close(self) -> None:
        """Close the partial file; unfinished, it stays with its journal."""
        file, self._file = self._file, None
        if file is not None:
            await self._run.in_thread(file.close)

    async def _already_there(self) -> DownloadedFile | None:
        """The target, if it exists and is what would be fetched, by its size and the records of earlier runs."""
        request = self._request
        existing = await self._run.in_thread(find_existing, request, self._context.finished)
        if existing is None or (request.overwrite and existing.record is None):
            return None
        drs = await self._staged.get_if_staged()
        compared = existing.compare(drs, request)
        if compared is None:
            return None
        sha256 = drs.plaintext_sha256 or ""
        result = DownloadedFile(self.label, existing.target, existing.size, sha256, compared == "record", compared)
        await self._run.in_thread(self._record, result, existing.mtime_ns)
        return result

    def _record(self, result: DownloadedFile, mtime_ns: int) -> None:
        record = FinishedFile(result.size, mtime_ns, result.sha256, self.label, result.verified)
        self._context.finished.add(record, result.path.name)

    async def _fetch_address_and_header(self) -> tuple[DrsObject, bytes]:
        """Request address and header concurrently. The header is kept while the file is being staged."""

        async def header() -> bytes:
            if self._header is None:
                self._header = await self._staged.header()
            return self._header

        drs, data = await run_concurrently(self._staged.get_if_staged, header)
        return drs, data

    def _checked_header(self, drs: DrsObject, data: bytes) -> OpenedHeader:
        header = open_header(data, self._context.private_key)
        opened_size(drs.size)
        if header.size != len(data) or header.edit_list:
            raise IntegrityError(
                f"The header of {self.label} has an edit list or extra bytes, which a download must not have.",
                hint="Tell the archive's operators.",
            )
        return header

    def _choose_part_size(self, size: int, kind: str, facts: Mapping[str, Any]) -> int:
        """That of the unfinished file of an earlier run, which is resumed whatever the settings say now. Blocks."""
        earlier = unfinished_facts(self._request.target, kind, facts).get("part_size")
        wanted = earlier if isinstance(earlier, int) and earlier > 0 else self._run.part_size
        return fit_download_part_size(size, wanted)

    def _processor(self, drs: DrsObject, header: bytes, decryptor: SegmentDecryptor) -> PartProcessor:
        if self._request.decrypt:
            return Decrypt(decryptor, drs.size)
        keep = KeepEncrypted if self._request.verify else KeepUnverified
        return keep(decryptor, drs.size, header)

    async def _read_back(self, part: Part, buffer: memoryview) -> Plaintext | None:
        """The plaintext of a part that an earlier run wrote, `None` if it did not, or the part is damaged."""
        state = self._opened
        if part.number not in state.file.done:
            return None
        plaintext = await self._run.in_thread(state.processor.read_back, part, buffer, state.file)
        # Reading back counts as progress; a damaged part is no longer kept.
        self._run.observer.progressed(self.label, 0)
        if plaintext is None:
            self._run.observer.kept(self.label, -part.size)
        return plaintext


async def download_all(
    requests: Sequence[DownloadRequest], context: DownloadContext, scheduler: Scheduler, *, verify_existing: bool
) -> list[Outcome[DownloadedFile]]:
    """Download the files of one command into one folder. The outcomes are in the order of the requests."""
    if verify_existing:
        from connector.download.verification import Verification

        existing = await context.run.in_thread(lambda: list(map(target_exists, requests)))
        return await scheduler.run(
            Verification(request, context) if found else Download(request, context)
            for request, found in zip(requests, existing, strict=True)
        )
    before = await context.run.in_thread(lambda: [finished_before(request, context.finished) for request in requests])
    return await scheduler.run_rest(
        [None if file is None else Outcome(file.accession, value=file) for file in before],
        (Download(request, context) for request, file in zip(requests, before, strict=True) if file is None),
    )
