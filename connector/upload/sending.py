"""Sending the parts of one upload, of a file of several parts or of a single one, with their URLs requested ahead."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

import trio

from connector.crypt4gh.segments import PartSealer, PreparedPart, SealedLayout
from connector.errors import ConnectorError, RefusedError, RetryPolicy
from connector.local.files import SourceChangedError, SourceFile
from connector.local.journal import JournalFile
from connector.parts import Part, PartDigests, Parts, add_pieces, digest_part, multipart_etag
from connector.transfer import Progress, Sequencer, run_concurrently
from connector.upload.journals import LockedSource, UploadContext, UploadSource
from connector.upload.states import CLOSE, SentPart, Stage, StartedUpload, UploadState, after
from connector.wire.payloads import UploadCompletion

_MAX_AGE = 10.0
"""Seconds for which a URL that was fetched ahead is used: presigned ones live for about a minute."""


class UrlsAhead:
    """URLs that are fetched while the parts before theirs are sent, which saves a round trip for each.

    At most one for each part that is being sent. `missing`: the numbers of the parts in their order. If parts take so
    long that a URL gets too old, no further ones are fetched ahead.
    """

    def __init__(self, missing: Iterator[int], fetch: Callable[[int], Awaitable[str]]) -> None:
        self._missing = missing
        self._fetch = fetch
        self._begun = 0
        self._urls: dict[int, tuple[float, str]] = {}
        self._in_time = True

    def take(self, number: int) -> str | None:
        """The URL of a part that is about to be sent, if it was fetched ahead."""
        self._begun = max(self._begun, number)
        fetched, url = self._urls.pop(number, (trio.current_time(), None))
        if trio.current_time() - fetched > _MAX_AGE:
            self._in_time, url = False, None
        return url

    async def fetch_next(self) -> None:
        """Fetch the URL of the next part for which that was not done and that has not begun, if there is one."""
        number = next((number for number in self._missing if number > self._begun), None) if self._in_time else None
        if number is not None:
            url = await self._fetch(number)
            self._urls[number] = trio.current_time(), url


class Sending(ABC):
    """Reads the source once, in order, encrypts each part, and puts it to a URL that is fetched meanwhile.

    Parts that an earlier run has sent are read too, for the sha256 of the whole, and compared with what that run read.
    """

    def __init__(
        self, context: UploadContext, locked: LockedSource, file: SourceFile, state: UploadState, parts: Parts
    ) -> None:
        assert state.started is not None, "it was created, or can be resumed"
        self._context = context
        self._run = context.run
        self._locked = locked
        self._file = file
        self._state = state
        self._parts = parts
        self._started: StartedUpload = state.started
        self.file_id = state.started.file_id
        self._upload_token = context.box.token("upload", file_id=self.file_id)
        self._close_token = context.box.token("close", file_id=self.file_id)
        self._sealer = PartSealer(
            SealedLayout(self._started.header, file.state.size),
            session_key=self._started.session_key,
            nonce_seed=self._started.nonce_seed,
            random_bytes=context.random_bytes,
        )
        self._sent = dict(state.parts)
        self._sent_before = dict(state.parts)
        self._digest = hashlib.sha256()
        self._sequencer = Sequencer()
        self._plain: dict[int, str] = {}
        self._journal: JournalFile | None = None
        missing = (part.number for part in parts if part.number not in self._sent_before)
        self._urls = UrlsAhead(missing, self._fetch_url)

    @property
    def kept(self) -> int:
        """Bytes that need not be sent again."""
        return sum(self._parts[number - 1].size for number in self._sent_before)

    @property
    def is_resumable(self) -> bool:
        """Whether the upload stays in the archive when it fails or is cancelled, for the next run to resume it.

        An archive allows few open uploads, so one whose only part is not stored does not.
        """
        return len(self._parts) > 1 or bool(self._sent)

    @abstractmethod
    async def begin(self) -> None:
        """Create or resume the journal; of a resumed upload, check whether the archive still accepts its parts."""

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, hash in order, encrypt and put one part; one that an earlier run has sent is only hashed."""
        if part.number in self._sent_before:
            await self._seal(part, buffer)
            progress(0)  # reading parts that are stored already takes a while, but is no stall
            return

        async def get_url() -> str:
            return self._urls.take(part.number) or await self._fetch_url(part.number)

        sent, url = await run_concurrently(partial(self._seal, part, buffer), get_url)
        await self._locked.check_lock()
        put = trio.CancelScope()

        async def send() -> None:
            try:
                await self._context.objects.put_from(url, buffer, progress, md5=sent.digests.md5)
            finally:
                put.cancel()

        async def fetch_ahead() -> None:
            with put, suppress(ConnectorError):  # that part will report it
                await self._urls.fetch_next()

        async def prepare_to_close() -> None:
            with suppress(ConnectorError):  # the closing will report it
                await self._close_token.get()

        await run_concurrently(send, fetch_ahead, *([prepare_to_close] if part.number == len(self._parts) else []))
        await self._record_sent(part.number, sent)
        self._sent[part.number] = sent

    async def close(self) -> str:
        """Complete the upload. Returns the sha256 of the plaintext."""
        await self._check_source()
        digests = [self._sent[number].digests for number in sorted(self._sent)]
        sha256 = self._digest.hexdigest()
        completion = UploadCompletion(
            decrypted_sha256=sha256,
            encrypted_md5=multipart_etag(one.md5 for one in digests),
            encrypted_parts_md5=tuple(one.md5 for one in digests),
            encrypted_parts_sha256=tuple(one.sha256 for one in digests),
        )
        await self._locked.check_lock()
        await self._context.box.uploads.complete(self._close_token, self.file_id, completion)
        return sha256

    def end(self) -> None:
        """Close the journal, which stays. Blocks."""
        if self._journal is not None:
            self._journal.close()

    @abstractmethod
    async def _seal(self, part: Part, buffer: memoryview) -> SentPart | None:
        """Fill `buffer` with the encrypted part; `None` if an earlier run has sent it."""

    @abstractmethod
    async def _check_source(self) -> None:
        """Raise `SourceChangedError` if the source changed while it was read."""

    async def _record_sent(self, number: int, sent: SentPart) -> None:
        """Record that a part is stored."""
        journal = self._journal
        assert journal is not None, "it is created before the first part is sent"

        def record() -> None:
            self._locked.check()  # after a takeover the journal belongs to the other process
            journal.add_parts({number: sent.facts()})

        await self._run.in_thread(record)

    def _begin_journal(self, sealed: SentPart | None) -> None:
        self.end()  # that of a previous try, whose encrypted bytes were different
        context = self._context
        self._journal = context.journals.begin(self._locked.source, self._file.state, self._started, sealed)

    async def _fetch_url(self, number: int) -> str:
        return await self._context.box.uploads.part_url(self._upload_token, self.file_id, number)

    def _hash(self, part: Part, prepared: PreparedPart) -> None:
        """Add a part to the sha256, in order, and compare with what an earlier run had read up to here."""
        add_pieces(self._digest, prepared.plaintext)
        plain = self._plain[part.number] = self._digest.hexdigest()
        earlier = self._sent_before.get(part.number)
        if earlier is not None and earlier.plain != plain:
            raise changed_since(self._locked.source)

    def _sealed(self, part: Part, prepared: PreparedPart) -> SentPart:
        digests: PartDigests = digest_part(prepared.seal())
        return SentPart(digests, self._plain[part.number])


class ManyParts(Sending):
    """A file of several parts: each stored part is recorded, and the next run sends the others."""

    async def begin(self) -> None:
        """Create the journal, or resume it and request the URL of the first missing part."""
        if self._state.stage is Stage.CREATED:
            await self._run.in_thread(self._begin_journal, None)
            return
        missing = next((part.number for part in self._parts if part.number not in self._sent), None)
        if missing is not None:
            await self._fetch_url(missing)
        self._journal = await self._run.in_thread(self._context.journals.resume, self._locked.source)

    async def _seal(self, part: Part, buffer: memoryview) -> SentPart | None:
        prepared = await self._run.in_thread(self._sealer.read_plaintext, part, buffer, self._file.read_into)
        if not self._sequencer.is_done(part.number):
            async with self._sequencer.in_order(part.number):
                await self._run.in_thread(self._hash, part, prepared)
        if part.number in self._sent_before:
            return None
        return await self._run.in_thread(self._sealed, part, prepared)

    async def _check_source(self) -> None:
        await self._run.in_thread(self._file.check_unchanged)


class OnePart(Sending):
    """A file of one part, which is read, hashed and encrypted in one call in a thread.

    The digests of the part are recorded before it is sent: a run that is killed later may have closed the upload, which
    the next run finds out by closing it with the same digests.
    """

    async def begin(self) -> None:
        """Request the part's URL if an earlier run did; if the archive rejects that, it may have the part already."""
        sealed = self._state.sealed
        if self._state.stage is Stage.CREATED:
            return
        try:
            if self._state.stage is Stage.SENDING:
                await self._fetch_url(1)
        except RefusedError as error:
            if sealed is None or after(Stage.SENDING, error.exception_id, sealed=True) is not CLOSE:
                raise
            self._sent_before = self._sent = {1: sealed}
        self._journal = await self._run.in_thread(self._context.journals.resume, self._locked.source)

    async def _seal(self, part: Part, buffer: memoryview) -> SentPart | None:
        def work() -> SentPart | None:
            prepared = self._sealer.read_plaintext(part, buffer, self._file.read_into)
            if not self._sequencer.is_done(part.number):
                self._hash(part, prepared)
            self._file.check_unchanged()
            if part.number in self._sent_before:
                return None
            sealed = self._sealed(part, prepared)
            self._begin_journal(sealed)
            return sealed

        async with self._sequencer.in_order(part.number):
            return await self._run.in_thread(work)

    async def _check_source(self) -> None:
        return  # it was checked after it had been read


def changed_since(source: UploadSource) -> SourceChangedError:
    """The error for a source that changed since an earlier run started its upload, which is restarted."""
    return SourceChangedError(
        f"{source.path} has changed since its upload was started.",
        hint="Run the same command again.",
        advice=RetryPolicy(again=False, restart="source"),
    )
