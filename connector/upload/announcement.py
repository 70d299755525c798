"""The announcement of a file to an upload box: results in a created upload, or finds one that exists already."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import partial
from uuid import UUID

from connector.crypt4gh.segments import file_size, fit_upload_part_size
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.local.files import SourceFile
from connector.upload.existing import alias_taken, compare
from connector.upload.journals import LockedSource, UploadContext
from connector.upload.states import INSPECT_BOX, Stage, UploadedFile, after
from connector.wire.payloads import CreatedUpload, FileUpload, UploadCreation

_PIECE = 4 * 1024**2


class Announcement:
    """The announcement of one file; `sent_before`: an earlier run sent it, and ended before the response.

    It is journaled as long as the archive may have created an upload whose id is not known here: that is so if the
    request `may_be_sent`.
    """

    def __init__(self, context: UploadContext, locked: LockedSource, file: SourceFile, *, sent_before: bool) -> None:
        self._context = context
        self._locked = locked
        self._file = file
        self._record = locked.source.record(context.finished)
        self._sent_before = sent_before
        self._unacknowledged = False
        self._journaled = sent_before
        self.may_be_sent = sent_before
        total = file_size(file.state.size)
        self.part_size = fit_upload_part_size(total, context.run.part_size)
        self._creation = UploadCreation(
            alias=locked.source.alias,
            decrypted_size=file.state.size,
            encrypted_size=total,
            part_size=self.part_size,
            overwrite=context.overwrite,
        )

    def write(self) -> None:
        """Write the journal, unless the box is to be listed first. Blocks."""
        if not self._journaled and self._record is None and self._context.box.listed(self._creation.alias) is None:
            self._write()

    async def prepare(self) -> UploadedFile | None:
        """Check whether the file is known to be in the box, and fetch the token to announce it if it is not."""
        context, alias = self._context, self._creation.alias
        if not self._sent_before:
            listed = context.box.listed(alias)
            if listed is None and self._record is not None:
                with suppress(ConnectorError):  # uploading needs no listing
                    listed = await context.box.find(alias)
            existing = None if listed is None else await self._compared(listed)
            if existing is not None and self._suffices(existing):
                return existing
        await context.box.token("create", alias=alias).get()
        return None

    async def send(self) -> CreatedUpload | UploadedFile:
        """Request the creation of an upload, unless the file is in the box already."""
        if not self._journaled:
            await self._context.run.in_thread(self._write)
        self.may_be_sent = True

        def on_retry(error: ConnectorError, delay: float) -> None:
            self._unacknowledged = self._unacknowledged or isinstance(error, BrokenError)

        box = self._context.box
        token = box.token("create", alias=self._creation.alias)  # not in __init__, which runs in a thread
        try:
            try:
                return await box.uploads.create(token, self._creation, on_retry)
            except RefusedError as error:
                unacknowledged = self._unacknowledged or self._sent_before
                if after(Stage.ANNOUNCED, error.exception_id, unacknowledged=unacknowledged) is not INSPECT_BOX:
                    raise
                existing = await self._inspect_box(error)
            return await box.uploads.create(token, self._creation) if existing is None else existing
        except RefusedError:
            # The archive holds nothing of it: a journal must not claim otherwise if this run is killed while it waits.
            await self._context.run.in_thread(self._erase)
            raise

    def _write(self) -> None:
        self._context.journals.announce(self._locked.source, self._file.state)
        self._journaled = True

    def _erase(self) -> None:
        self._locked.check()
        self._context.journals.remove(self._locked.source)
        self._journaled = self.may_be_sent = False

    async def _inspect_box(self, refused: RefusedError) -> UploadedFile | None:
        """Find the reason of a refusal in the box; `None` if the upload can be created now."""
        box, alias, size = self._context.box, self._creation.alias, self._creation.decrypted_size
        unacknowledged, may_be_ours = self._unacknowledged, self._unacknowledged or self._sent_before
        self._unacknowledged = self._sent_before = False
        exists = refused.exception_id == "fileUploadAlreadyExists"
        listed: FileUpload | None = None
        try:
            if not unacknowledged:  # what an earlier run announced is in any listing of this one
                listed = await box.find(alias)
            if listed is None and (unacknowledged or exists):
                listed = await box.find(alias, fresh=True)
        except ConnectorError as error:
            if not exists:
                raise (refused if isinstance(error, RefusedError) else error) from None
            existing = await self._compared(None)
            if existing is None and not isinstance(error, RefusedError):
                raise
            if existing is None:
                raise alias_taken(alias, size, None, overwrite=self._context.overwrite) from refused
            return existing
        if may_be_ours and listed is not None and listed.state == "init" and listed.decrypted_size in (None, size):
            # The response to its creation was lost. One of another size is of another file.
            await box.delete(listed.id)
            return None
        if not exists:
            raise refused
        existing = None if listed is None else await self._compared(listed)
        if listed is not None and (existing is None or not self._suffices(existing)):
            raise alias_taken(alias, size, listed, overwrite=self._context.overwrite) from refused
        return existing

    def _suffices(self, existing: UploadedFile) -> bool:
        """Whether the file need not be sent; with `overwrite`, only if an earlier run sent it."""
        return not (self._context.overwrite and existing.already_there == "size")

    async def _compared(self, listed: FileUpload | None) -> UploadedFile | None:
        """The upload in the box if it is this file; `listed` is `None` if the box cannot be listed."""
        record, size = self._record, self._creation.decrypted_size
        compared = compare(listed, self._file.state, record)
        if compared == "size" and listed is not None:
            return UploadedFile(self._creation.alias, listed.id, size, None, compared)
        if compared == "record" and self._context.verify_existing:
            compared = "sha256"
        if compared is None or record is None or (compared == "sha256" and await self._hash() != record.sha256):
            return None
        return UploadedFile(self._creation.alias, UUID(record.origin), size, record.sha256, compared)

    async def _hash(self) -> str:
        """The sha256 of the source in its present state."""
        digest, buffer, size = hashlib.sha256(), memoryview(bytearray(_PIECE)), self._file.state.size

        def add(start: int) -> None:
            view = buffer[: size - start]
            self._file.read_into(start, [view])
            digest.update(view)

        for start in range(0, size, _PIECE):
            await self._context.run.in_thread(partial(add, start))
        return digest.hexdigest()
