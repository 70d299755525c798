"""One local file on its way into an upload box, as a transfer of the scheduler."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import attrs
import trio

from connector.clients.leases import Lease
from connector.clients.objects import ObjectClient
from connector.clients.work_orders import WorkOrder
from connector.core.checksums import PartDigests, add_pieces, digest_part, multipart_etag
from connector.core.layout import ENVELOPE_SIZE, Part, Parts, fit_upload_part_size, sealed_size
from connector.core.payloads import UploadCompletion
from connector.core.segments import LoadedPart, PartSealer, SealedLayout
from connector.errors import ConnectorError, LocalError, RefusedError
from connector.local.journal_file import JournalFile
from connector.local.key_files import KeyPair
from connector.local.source_file import SourceChangedError, SourceFile
from connector.transfer import AlreadyThere, GuardedObserver, Observer, Progress, Turns, together
from connector.upload.box import UploadBox
from connector.upload.opening import Opening
from connector.upload.preparation import Preparation, Prepared
from connector.upload.resumption import WORTHLESS, StartedUpload, UploadJournals, part_facts
from connector.upload.source import UploadSource

T = TypeVar("T")

_GIVING_UP = 5.0
"""Seconds that deleting a worthless upload may take while everything is being closed."""


@attrs.frozen
class UploadedFile:
    """A finished upload. ``size`` and ``sha256`` (lower case hex) are of the plaintext; ``already_there``: set where
    nothing had to be sent, to what was compared; ``sha256`` is ``None`` where that was the size alone.
    """

    alias: str
    file_id: UUID
    size: int
    sha256: str | None
    already_there: AlreadyThere | None = None


@attrs.frozen
class _Opened:
    """What is known once the archive has taken note of the file."""

    started: StartedUpload
    order: Lease[WorkOrder]
    closing: Lease[WorkOrder]
    sealer: PartSealer
    source: SourceFile
    is_small: bool
    stored_before: frozenset[int]
    digests: dict[int, PartDigests]


class Upload:
    """Reads the file once in order, seals each part with the hub's key, and puts it to a URL fetched just then.

    ``hub_key`` gives the public key of a storage alias. The upload is journaled, so that the next run goes on where
    this one stopped, even if that was killed; one of a single part that fails or is cancelled is rather deleted in the
    archive, where it would take one of the few places for open uploads.
    """

    def __init__(
        self,
        source: UploadSource,
        *,
        box: UploadBox,
        objects: ObjectClient,
        keys: KeyPair,
        hub_key: Callable[[str], bytes],
        journals: UploadJournals,
        part_size: int,
        overwrite: bool,
        threads: trio.CapacityLimiter,
        observer: Observer,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.label = source.alias
        self._source = source
        self._box = box
        self._objects = objects
        self._keys = keys
        self._hub_key = hub_key
        self._journals = journals
        self._part_size = part_size
        self._overwrite = overwrite
        self._threads = threads
        self._observer = GuardedObserver.of(observer)
        self._draw = draw
        self._digest = hashlib.sha256()
        self._turns = Turns()
        self._preparation = Preparation(source, box.id, journals)
        self._prepared: Prepared | None = None
        self._creating = box.creating_order(source.alias)
        self._state: _Opened | None = None
        self._journal: JournalFile | None = None
        self._completed = False
        self._worthless = False

    async def prepare(self) -> None:
        """Open the file, and fetch the token to announce it: an archive allows few open uploads, so that each round
        trip counts which is not made while one of them is this."""
        self._prepared = await self._in_thread(self._preparation.make)
        if self._prepared.left is None:
            await self._creating.get()

    async def open(self) -> Sequence[Part]:
        """Announce the file to the box, or go on with what an earlier run has announced."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:  # what was found before the first try no longer holds in a second
            prepared = await self._in_thread(self._preparation.make)
        box, source, file, left = self._box.id, self._source, prepared.file, prepared.left
        size = file.state.size
        total = ENVELOPE_SIZE + sealed_size(size)
        part_size = fit_upload_part_size(total, self._part_size)
        opening = self._opening()
        earlier = await opening.find_earlier(left, total) if left is not None else None
        if earlier is not None:
            started = earlier.started
            self._journal = await self._in_thread(lambda: self._journals.resume(box, source, earlier))
        else:
            if left is not None:
                await self._in_thread(self._preparation.announce)
            started = await opening.start(size, total, part_size)
        parts = Parts(total, started.part_size)
        sealer = PartSealer(
            SealedLayout(started.envelope, size),
            session_key=started.secrets.session_key,
            nonce_seed=started.secrets.nonce_seed,
            draw=self._draw,
        )
        digests = dict(earlier.parts) if earlier else {}
        self._state = _Opened(
            started,
            self._box.sending_order(started.file_id),
            self._box.closing_order(started.file_id),
            sealer,
            file,
            len(parts) == 1,
            frozenset(digests),
            digests,
        )
        if self._journal is None and not self._state.is_small:  # a small one does it when its part is sealed
            await self._in_thread(lambda: self._begin_journal(None))
        self._observer.opened(self.label, total)
        self._observer.kept(self.label, sum(parts[number - 1].size for number in digests))
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, hash in turn, seal and put one part; one that is stored already is only hashed."""
        state = self._opened
        try:
            digests = await (self._seal_whole if state.is_small else self._seal)(part, buffer)
        except SourceChangedError:
            self._worthless = True
            raise
        if digests is None:
            self._observer.progressed(self.label, 0)  # a sign of life: to read what is stored already takes a while
            return
        url = await self._box.part_url(state.order, state.started.file_id, part.number)
        await self._check_lock()
        await self._objects.put_part(url, buffer, progress, md5=digests.md5)
        state.digests[part.number] = digests
        if not state.is_small:  # that of a small one was noted before
            await self._in_thread(lambda: self._record(part.number))

    async def _seal(self, part: Part, buffer: memoryview) -> PartDigests | None:
        """Read, hash in turn and seal one of many parts; ``None`` if it is stored already."""
        state = self._opened
        loaded = await self._in_thread(lambda: state.sealer.load(part, buffer, state.source.read_into))
        if not self._turns.passed(part.number):
            async with self._turns.take(part.number):
                await self._in_thread(lambda: self._hash(loaded))
        if part.number in state.stored_before:
            return None
        return await self._in_thread(lambda: digest_part(loaded.seal()))

    async def _seal_whole(self, part: Part, buffer: memoryview) -> PartDigests | None:
        """The same for the one part of a small file, in one way to a thread and back: nobody waits for a turn.

        Both tokens are fetched meanwhile: an archive allows few open uploads, so that each round trip counts. What the
        part was sealed to is noted before it is sent, for the next run to tell the archive if it has that already.
        """
        state = self._opened
        digests: list[PartDigests | None] = []

        def work() -> PartDigests | None:
            loaded = state.sealer.load(part, buffer, state.source.read_into)
            if not self._turns.passed(part.number):
                self._hash(loaded)
            state.source.check_unchanged()
            if part.number in state.stored_before:
                return None
            sealed = digest_part(loaded.seal())
            self._begin_journal(sealed)
            return sealed

        async def seal() -> None:
            async with self._turns.take(part.number):
                digests.append(await self._in_thread(work))

        await together(seal, state.order.get, state.closing.get)
        return digests[0]

    async def finish(self) -> UploadedFile:
        """Check that the file is still the same, and tell the archive that all parts are there."""
        state = self._opened
        ordered = [state.digests[number] for number in sorted(state.digests)]
        sha256 = self._digest.hexdigest()
        completion = UploadCompletion(
            decrypted_sha256=sha256,
            encrypted_md5=multipart_etag(digests.md5 for digests in ordered),
            encrypted_parts_md5=tuple(digests.md5 for digests in ordered),
            encrypted_parts_sha256=tuple(digests.sha256 for digests in ordered),
        )
        try:
            if not state.is_small:  # that was looked at when it had been read
                await self._in_thread(state.source.check_unchanged)
            await self._check_lock()
            await self._box.complete(state.closing, state.started.file_id, completion)
        except SourceChangedError:
            self._worthless = True
            raise
        except RefusedError as error:
            # A box locked meanwhile or an access token that has ended says nothing about what is stored.
            self._worthless = error.exception_id in WORTHLESS
            raise
        self._completed = True
        return UploadedFile(self.label, state.started.file_id, state.source.state.size, sha256)

    async def close(self) -> None:
        """Let go of the file. An upload that can be gone on with stays, any other is deleted in the archive."""
        state = self._state
        over = self._completed
        if state is not None and not over and (state.is_small or self._worthless) and await self._is_ours():
            with trio.move_on_after(_GIVING_UP):
                over = await self._delete(state.started.file_id)
        never_asked = self._prepared is not None and self._prepared.left is None
        await self._in_thread(lambda: self._let_go(forget=over or never_asked))

    async def _check_lock(self) -> None:
        """Stop before anything is sent to an upload that another process has taken over: its parts are other bytes."""
        if self._preparation.may_be_lost:
            await self._in_thread(self._preparation.check)

    async def _is_ours(self) -> bool:
        try:
            await self._check_lock()
        except LocalError:
            return False
        return True

    def _begin_journal(self, sealed: PartDigests | None) -> None:
        state = self._opened
        if self._journal is not None:  # of a try before, in which the part was sealed to something else
            self._journal.close()
        self._journal = self._journals.begin(self._box.id, self._source, state.source.state, state.started, sealed)

    def _record(self, number: int) -> None:
        state = self._opened
        assert self._journal is not None, "it begins before the first part"
        self._journal.add_parts({number: part_facts(state.digests[number])})

    def _let_go(self, *, forget: bool) -> None:
        try:
            if self._journal is not None:
                if forget:  # if it could not be deleted, the next run will try
                    self._journal.remove()
                self._journal.close()
            elif forget:
                self._preparation.forget()
        finally:
            self._preparation.release()

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    def _opening(self) -> Opening:
        return Opening(
            self._source,
            box=self._box,
            order=self._creating,
            keys=self._keys,
            hub_key=self._hub_key,
            overwrite=self._overwrite,
            draw=self._draw,
            delete=self._delete,
            forget=lambda: self._in_thread(self._preparation.forget),
        )

    async def _delete(self, file_id: UUID) -> bool:
        """Delete an upload in the archive; whether that went well."""
        try:
            await self._box.delete(file_id)
        except ConnectorError as error:
            # The upload stays open in the archive; the file's own failure is what the user has to hear of.
            self._observer.retried(self.label, error, 0.0)
            return False
        return True

    def _hash(self, loaded: LoadedPart) -> None:
        add_pieces(self._digest, loaded.plaintext)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
