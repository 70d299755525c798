"""One local file on its way into an upload box, as a transfer of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import trio

from connector.crypt4gh.header import make_header
from connector.crypt4gh.layout import HEADER_SIZE, sealed_size
from connector.errors import ConnectorError, LocalError, RefusedError, RetryPolicy
from connector.local.finished import FinishedFile
from connector.local.source_file import SourceChangedError, SourceFile
from connector.parts import Part, Parts
from connector.transfer import Progress
from connector.upload.announcement import Announcement
from connector.upload.context import LockedSource, UploadContext
from connector.upload.existing import UploadedFile
from connector.upload.sending import ManyParts, OnePart, Sending, changed_since
from connector.upload.source import UploadSource
from connector.upload.states import Stage, StartedUpload, UploadSecrets, UploadState, after, created
from connector.wire.payloads import CreatedUpload

_DELETING = 5.0
"""Seconds that deleting an upload in the archive may take while everything is being closed."""


class Upload:
    """Takes a file from where its journal says that it is (`states`) to the end.

    Which refusal of the archive leads where stands in the same module.
    """

    def __init__(self, source: UploadSource, context: UploadContext) -> None:
        self.label = source.alias
        self._source = source
        self._context = context
        self._run = context.run
        self._locked = LockedSource(source, context)
        self._reset()

    def _reset(self) -> None:
        """Forget what held for one try of the whole."""
        self._file: SourceFile | None = None
        self._left: UploadState | None = None
        self._announcement: Announcement | None = None
        self._file_id: UUID | None = None
        self._sending: Sending | None = None
        self._worthless = False
        self._done: UploadedFile | None = None

    async def prepare(self) -> None:
        """Open the file, and fetch the token to announce it: an archive allows few open uploads, so that each round
        trip counts which is not made while one of them is this."""
        await self._run.in_thread(self._take)
        if self._announcement is not None:
            self._done = await self._announcement.prepare()

    async def open(self) -> Sequence[Part]:
        """Announce the file to the box, or resume what an earlier run has announced."""
        state = self._left
        if self._done is None and self._announcement is not None:
            answer = await self._announcement.make()
            if isinstance(answer, UploadedFile):
                self._done = answer
            else:
                self._file_id = answer.file_id
                state = created(await self._start(answer, self._announcement.part_size))
        if self._done is not None:
            return ()
        assert state is not None, "nothing was left of an earlier run, so it was announced"
        self._file_id = state.file_id
        if state.started is None:
            self._worthless = True
            raise changed_since(self._source) if state.changed else _unreadable(self._source)
        total = HEADER_SIZE + sealed_size(self._opened.state.size)
        parts = Parts(total, state.started.part_size)
        kind = OnePart if len(parts) == 1 else ManyParts
        self._sending = kind(self._context, self._locked, self._opened, state, parts)
        try:
            await self._sending.begin()
        except RefusedError as error:
            raise self._judged(Stage.SENDING, error) from error.__cause__
        self._run.observer.opened(self.label, total)
        self._run.observer.kept(self.label, self._sending.kept)
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Send one part."""
        assert self._sending is not None, "open() comes first"
        try:
            await self._sending.move(part, buffer, progress)
        except (RefusedError, SourceChangedError) as error:
            raise self._judged(Stage.SENDING, error) from error.__cause__

    async def finish(self) -> UploadedFile:
        """Tell the archive that all parts are there."""
        if self._done is None:
            assert self._sending is not None, "open() comes first"
            try:
                sha256 = await self._sending.close()
            except (RefusedError, SourceChangedError) as error:
                raise self._judged(Stage.RECEIVED, error) from error.__cause__
            self._done = UploadedFile(self.label, self._sending.file_id, self._opened.state.size, sha256)
        return self._done

    async def close(self) -> None:
        """Release the file. An upload that can be resumed stays, any other is deleted in the archive."""
        over = self._done is not None
        if self._file_id is None:
            over = over or (self._announcement is not None and not self._announcement.was_made)
        elif not over and (self._worthless or self._sending is None or not self._sending.lasts):
            with trio.move_on_after(_DELETING):
                over = await self._delete(self._file_id)
        try:
            await self._run.in_thread(lambda: self._release(forget=over))
        finally:
            self._reset()

    def _take(self) -> None:
        """Find what an earlier run has left of this upload; if nothing, note that the archive is about to be asked."""
        self._file = self._locked.take()
        self._left = self._context.journals.find(self._context.box.id, self._source, self._file.state)
        if self._left is None or self._left.stage is Stage.ANNOUNCED:
            self._announcement = Announcement(
                self._context, self._locked, self._file, made_before=self._left is not None
            )
            self._announcement.write()

    async def _start(self, answer: CreatedUpload, part_size: int) -> StartedUpload:
        secrets = UploadSecrets(session_key=self._context.random_bytes(32), nonce_seed=self._context.random_bytes(32))
        envelope = make_header(
            secrets.session_key,
            sender_private_key=self._context.keys.private,
            recipient_public_keys=[await self._context.hub_key(answer.storage_alias)],
        )
        return StartedUpload(answer.file_id, part_size, envelope, secrets)

    def _judged(self, stage: Stage, error: RefusedError | SourceChangedError) -> RefusedError | SourceChangedError:
        """Learn what an error makes of the upload; the error to raise advises a restart where the table says so."""
        if isinstance(error, RefusedError):
            step = after(stage, error.exception_id)
            if step.restart:
                error = error.with_advice(RetryPolicy(again=False, restart=step.restart))
        self._worthless = self._worthless or isinstance(error, SourceChangedError) or bool(error.advice.restart)
        return error

    def _release(self, *, forget: bool) -> None:
        try:
            if self._sending is not None:
                self._sending.end()
            done = self._done
            if done is not None and done.already_there not in ("size", "record"):
                state = self._opened.state
                note = FinishedFile(state.size, state.mtime_ns, done.sha256, str(done.file_id))
                self._context.notes.add(note, *self._source.key)
            if forget:  # what could not be deleted the next run tries to delete
                self._locked.check()
                self._context.journals.remove(self._context.box.id, self._source)
        finally:
            self._locked.release()

    async def _delete(self, file_id: UUID) -> bool:
        """Delete an upload in the archive, unless another process has taken over; whether that went well."""
        try:
            await self._locked.check_lock()
            await self._context.box.delete(file_id)
        except LocalError:
            return False
        except ConnectorError as error:
            # The upload stays open in the archive; the file's own failure is what the user has to hear of.
            self._run.observer.retried(self.label, error, 0.0)
            return False
        return True

    @property
    def _opened(self) -> SourceFile:
        assert self._file is not None, "prepare() comes first"
        return self._file


def _unreadable(source: UploadSource) -> LocalError:
    return LocalError(
        f"The journal of the upload of {source.path} is damaged, or for another key than yours.",
        hint="Run the same command again.",
        advice=RetryPolicy(again=False, restart="unreadable"),
    )
