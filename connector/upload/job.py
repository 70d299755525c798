"""Uploads as transfers: one file, and the files of one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from uuid import UUID

import trio

from connector.crypt4gh.keys import make_header
from connector.crypt4gh.segments import file_size
from connector.errors import ConnectorError, LocalError, RefusedError, RetryPolicy
from connector.local.files import SourceChangedError, SourceFile, SourceState
from connector.local.state_folder import FinishedFile
from connector.parts import Part, Parts
from connector.transfer import Outcome, Progress, Scheduler
from connector.upload.announcement import Announcement
from connector.upload.existing import uploaded_before
from connector.upload.journals import LockedSource, UploadContext, UploadSource
from connector.upload.sending import ManyParts, OnePart, Sending, changed_since
from connector.upload.states import Stage, StartedUpload, UploadedFile, UploadState, after, created
from connector.wire.payloads import CreatedUpload

_DELETE_TIMEOUT = 5.0
"""Seconds that deleting an upload in the archive may take while everything is being closed."""


class Upload:
    """Uploads a file, from the state that its journal records. `connector.upload.states` defines the states and what
    follows from a refusal of the archive.
    """

    def __init__(self, source: UploadSource, context: UploadContext) -> None:
        self.label = source.alias
        self._source = source
        self._context = context
        self._run = context.run
        self._locked = LockedSource(source, context)
        self._reset()

    def _reset(self) -> None:
        """Reset the state of one try."""
        self._file: SourceFile | None = None
        self._previous: UploadState | None = None
        self._announcement: Announcement | None = None
        self._file_id: UUID | None = None
        self._sending: Sending | None = None
        self._unusable = False
        self._done: UploadedFile | None = None

    async def prepare(self) -> None:
        """Open the file, and fetch the token to announce it. This takes no slot of the archive, which allows only a few
        open uploads."""
        await self._run.in_thread(self._take)
        if self._announcement is not None:
            self._done = await self._announcement.prepare()

    async def open(self) -> Sequence[Part]:
        """Announce the file to the box, or resume what an earlier run has announced."""
        state = self._previous
        if self._done is None and self._announcement is not None:
            response = await self._announcement.send()
            if isinstance(response, UploadedFile):
                self._done = response
            else:
                self._file_id = response.file_id
                state = created(await self._start(response, self._announcement.part_size))
        if self._done is not None:
            return ()
        assert state is not None, "without a journal of an earlier run, it was announced"
        self._file_id = state.file_id
        if state.started is None:
            self._unusable = True
            raise changed_since(self._source) if state.changed else _unreadable(self._source)
        total = file_size(self._opened.state.size)
        parts = Parts(total, state.started.part_size)
        kind = OnePart if len(parts) == 1 else ManyParts
        self._sending = kind(self._context, self._locked, self._opened, state, parts)
        try:
            await self._sending.begin()
        except RefusedError as error:
            raise self._classify(Stage.SENDING, error) from error.__cause__
        self._run.observer.opened(self.label, total)
        self._run.observer.kept(self.label, self._sending.kept)
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Send one part."""
        assert self._sending is not None, "open() comes first"
        try:
            await self._sending.move(part, buffer, progress)
        except (RefusedError, SourceChangedError) as error:
            raise self._classify(Stage.SENDING, error) from error.__cause__

    async def finish(self) -> UploadedFile:
        """Complete the upload in the archive."""
        if self._done is None:
            assert self._sending is not None, "open() comes first"
            try:
                sha256 = await self._sending.close()
            except (RefusedError, SourceChangedError) as error:
                raise self._classify(Stage.RECEIVED, error) from error.__cause__
            self._done = UploadedFile(self.label, self._sending.file_id, self._opened.state.size, sha256)
        return self._done

    async def close(self) -> None:
        """Close the file. An upload that can be resumed stays; any other is deleted in the archive."""
        finished = self._done is not None
        if self._file_id is None:
            finished = finished or (self._announcement is not None and not self._announcement.may_be_sent)
        elif not finished and (self._unusable or self._sending is None or not self._sending.is_resumable):
            with trio.move_on_after(_DELETE_TIMEOUT):
                finished = await self._delete(self._file_id)
        try:
            await self._run.in_thread(self._release, finished)
        finally:
            self._reset()

    def _take(self) -> None:
        """Find the journal of an earlier run; without one, journal that the upload is about to be announced."""
        self._file = self._locked.take()
        self._previous = self._context.journals.find(self._source, self._file.state)
        if self._previous is None or self._previous.stage is Stage.ANNOUNCED:
            self._announcement = Announcement(
                self._context, self._locked, self._file, sent_before=self._previous is not None
            )
            self._announcement.write()

    async def _start(self, upload: CreatedUpload, part_size: int) -> StartedUpload:
        session_key, nonce_seed = self._context.random_bytes(32), self._context.random_bytes(32)
        header = make_header(
            session_key,
            sender_private_key=self._context.keys.private,
            recipient_public_keys=[await self._context.hub_key(upload.storage_alias)],
        )
        return StartedUpload(upload.file_id, part_size, header, session_key, nonce_seed)

    def _classify(self, stage: Stage, error: RefusedError | SourceChangedError) -> RefusedError | SourceChangedError:
        """Derive from an error whether the upload is still usable; the error to raise may advise a restart."""
        if isinstance(error, RefusedError):
            step = after(stage, error.exception_id)
            if step.restart:
                error = error.with_advice(RetryPolicy(again=False, restart=step.restart))
        self._unusable = self._unusable or isinstance(error, SourceChangedError) or bool(error.advice.restart)
        return error

    def _release(self, forget: bool) -> None:
        try:
            if self._sending is not None:
                self._sending.end()
            done = self._done
            if done is not None and done.already_there not in ("size", "record"):
                state = self._opened.state
                record = FinishedFile(state.size, state.mtime_ns, done.sha256, str(done.file_id))
                self._context.finished.add(record, *self._source.key)
            if forget:  # otherwise the next run resumes or deletes it
                self._locked.check()
                self._context.journals.remove(self._source)
        finally:
            self._locked.release()

    async def _delete(self, file_id: UUID) -> bool:
        """Delete an upload in the archive, unless another process has taken over; returns whether that succeeded."""
        try:
            await self._locked.check_lock()
            await self._context.box.delete(file_id)
        except LocalError:
            return False
        except ConnectorError as error:
            # The upload stays open in the archive; the file's own error is the one to report.
            self._run.observer.retried(self.label, error, 0.0)
            return False
        return True

    @property
    def _opened(self) -> SourceFile:
        assert self._file is not None, "prepare() comes first"
        return self._file


def _unreadable(source: UploadSource) -> LocalError:
    return LocalError(
        f"The journal of the upload of {source.path} is damaged, or encrypted for a different key than yours.",
        hint="Run the same command again.",
        advice=RetryPolicy(again=False, restart="unreadable"),
    )


async def upload_all(
    sources: Sequence[UploadSource], context: UploadContext, scheduler: Scheduler
) -> list[Outcome[UploadedFile]]:
    """Upload the files of one command into one box. The outcomes are in the order of the sources."""
    before = [None] * len(sources) if context.verify_existing else await _uploaded_before(sources, context)
    return await scheduler.run_rest(
        [None if file is None else Outcome(file.alias, value=file) for file in before],
        (Upload(source, context) for source, file in zip(sources, before, strict=True) if file is None),
    )


async def _uploaded_before(sources: Sequence[UploadSource], context: UploadContext) -> list[UploadedFile | None]:
    """The files that an earlier run recorded, unchanged since, and that one listing of the box has.

    `None` for all others, and for all if the box cannot be listed.
    """
    states = await context.run.in_thread(lambda: [_recorded(source, context) for source in sources])
    found: list[UploadedFile | None] = [None] * len(sources)
    for number, (source, state) in enumerate(zip(sources, states, strict=True)):
        if state is not None:
            try:
                listed = await context.box.find(source.alias)
            except ConnectorError:
                break
            found[number] = uploaded_before(listed, state, source.record(context.finished))
    return found


def _recorded(source: UploadSource, context: UploadContext) -> SourceState | None:
    """The state of a source that was recorded as finished, and whose upload has no journal."""
    if source.record(context.finished) is None or context.journals.path(source).exists():
        return None
    try:
        return SourceState.of(os.stat(source.path))
    except OSError:
        return None  # the upload will report what is wrong with it
