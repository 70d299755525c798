"""The announcement of a file to an upload box: ends with an upload that is created, or one that is there."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import partial
from uuid import UUID

from connector.crypt4gh.layout import HEADER_SIZE, fit_upload_part_size, sealed_size
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.local.source_file import SourceFile
from connector.upload.context import LockedSource, UploadContext
from connector.upload.existing import UploadedFile, compare, in_the_way
from connector.upload.states import LOOK, Stage, after
from connector.wire.payloads import CreatedUpload, FileUpload, UploadCreation

_PIECE = 4 * 1024**2


class Announcement:
    """The announcement of one file; `made_before`: an earlier run made it, and ended before it was answered.

    The journal says that the archive is about to be asked, for as long as it may have created an upload whose id is
    not known here.
    """

    def __init__(self, context: UploadContext, locked: LockedSource, file: SourceFile, *, made_before: bool) -> None:
        self._context = context
        self._locked = locked
        self._file = file
        self._note = context.notes.find(*locked.source.key)
        self._made_before = made_before
        self._unacknowledged = False
        self._written = made_before
        self._asked = made_before
        total = HEADER_SIZE + sealed_size(file.state.size)
        self._creation = UploadCreation(
            alias=locked.source.alias,
            decrypted_size=file.state.size,
            encrypted_size=total,
            part_size=fit_upload_part_size(total, context.run.part_size),
            overwrite=context.overwrite,
        )

    @property
    def part_size(self) -> int:
        """The size of parts that the archive is told."""
        return self._creation.part_size

    @property
    def was_made(self) -> bool:
        """Whether the archive may have been asked. Otherwise the journal may go."""
        return self._asked

    def write(self) -> None:
        """Have the journal say it, unless the box is to be looked into first. Blocks."""
        if not self._written and self._note is None and self._context.box.listed(self._creation.alias) is None:
            self._write()

    async def prepare(self) -> UploadedFile | None:
        """See whether the file is known to be in the box, and fetch the token to announce it if it is not."""
        context, alias = self._context, self._creation.alias
        if not self._made_before:
            listed = context.box.listed(alias)
            if listed is None and self._note is not None:
                with suppress(ConnectorError):  # uploading needs no listing
                    listed = await context.box.find(alias)
            there = None if listed is None else await self._compared(listed)
            if there is not None and self._suffices(there):
                return there
        await context.box.create_token(alias).get()
        return None

    async def make(self) -> CreatedUpload | UploadedFile:
        """Have the archive create an upload, unless the file is in the box already."""
        if not self._written:
            await self._context.run.in_thread(self._write)
        self._asked = True

        def note(error: ConnectorError, delay: float) -> None:
            self._unacknowledged = self._unacknowledged or isinstance(error, BrokenError)

        box = self._context.box
        order = box.create_token(self._creation.alias)  # not when this is made, which is in a thread
        try:
            try:
                return await box.create(order, self._creation, note)
            except RefusedError as error:
                unacknowledged = self._unacknowledged or self._made_before
                if after(Stage.ANNOUNCED, error.exception_id, unacknowledged=unacknowledged) is not LOOK:
                    raise
                there = await self._look(error)
            return await box.create(order, self._creation) if there is None else there
        except RefusedError:
            # The archive holds nothing of it. That must not be told otherwise by a run that is killed while it waits.
            await self._context.run.in_thread(self._erase)
            raise

    def _write(self) -> None:
        self._context.journals.announce(self._context.box.id, self._locked.source, self._file.state)
        self._written = True

    def _erase(self) -> None:
        self._locked.check()
        self._context.journals.remove(self._context.box.id, self._locked.source)
        self._written = self._asked = False

    async def _look(self, refused: RefusedError) -> UploadedFile | None:
        """Look into the box for what the archive refuses it for; `None` if nothing is in the way any more."""
        box, alias, size = self._context.box, self._creation.alias, self._creation.decrypted_size
        unacknowledged, may_be_ours = self._unacknowledged, self._unacknowledged or self._made_before
        self._unacknowledged = self._made_before = False
        exists = refused.exception_id == "fileUploadAlreadyExists"
        listed: FileUpload | None = None
        try:
            if not unacknowledged:  # what an earlier run has announced is in any listing of this one
                listed = await box.find(alias)
            if listed is None and (unacknowledged or exists):
                listed = await box.find(alias, fresh=True)
        except ConnectorError as error:
            if not exists:
                raise (refused if isinstance(error, RefusedError) else error) from None
            there = await self._compared(None)
            if there is None and not isinstance(error, RefusedError):
                raise
            if there is None:
                raise in_the_way(alias, size, None, overwrite=self._context.overwrite) from refused
            return there
        if may_be_ours and listed is not None and listed.state == "init" and listed.decrypted_size in (None, size):
            # The answer to its creation was lost. One of another size is of another file.
            await box.delete(listed.id)
            return None
        if not exists:
            raise refused
        there = None if listed is None else await self._compared(listed)
        if listed is not None and (there is None or not self._suffices(there)):
            raise in_the_way(alias, size, listed, overwrite=self._context.overwrite) from refused
        return there

    def _suffices(self, there: UploadedFile) -> bool:
        """Whether the file need not be sent: one that is to be replaced, only if an earlier run has done that."""
        return not (self._context.overwrite and there.already_there == "size")

    async def _compared(self, listed: FileUpload | None) -> UploadedFile | None:
        """The upload in the box if it is this file; `listed` is `None` where that cannot be listed."""
        note, size = self._note, self._creation.decrypted_size
        compared = compare(listed, self._file.state, note)
        if compared == "size" and listed is not None:
            return UploadedFile(self._creation.alias, listed.id, size, None, compared)
        if compared == "record" and self._context.verify_existing:
            compared = "sha256"
        if compared is None or note is None or (compared == "sha256" and await self._hash() != note.sha256):
            return None
        return UploadedFile(self._creation.alias, UUID(note.origin), size, note.sha256, compared)

    async def _hash(self) -> str:
        """The sha256 of the source as it is now."""
        digest, buffer, size = hashlib.sha256(), memoryview(bytearray(_PIECE)), self._file.state.size

        def add(start: int) -> None:
            view = buffer[: size - start]
            self._file.read_into(start, [view])
            digest.update(view)

        for start in range(0, size, _PIECE):
            await self._context.run.in_thread(partial(add, start))
        return digest.hexdigest()
