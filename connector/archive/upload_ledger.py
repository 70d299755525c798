"""The book of file uploads: their documents, their changes of state, and how full each box is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import attrs

from connector.archive.errors import FileUploadNotFound
from connector.archive.models import REPLACEABLE, UNFINISHED, FileUpload, UploadState
from connector.archive.recently_used import LruCache
from connector.archive.settings import Clock, moment
from persistence.documents.protocol import Dao, Sort
from persistence.errors import NotFound

_KNOWN_UPLOADS = 1024
_STANDING = ("init", "inbox", "interrogated", "awaiting_archival", "archived")


@attrs.define
class BoxUsage:
    """How many uploads of a box are in ``init``, and the bytes of plaintext that its standing uploads take up."""

    open_uploads: int = 0
    used_size: int = 0

    def count(self, upload: FileUpload, sign: int) -> None:
        """Take an upload in (``sign`` 1) or out (-1)."""
        if upload.state == "init":
            self.open_uploads += sign
        if upload.state not in REPLACEABLE:
            self.used_size += sign * upload.decrypted_size


class UploadLedger:
    """All uploads of an archive. The only place that writes their documents.

    The tallies are kept in memory, since a box may hold many thousands of files, and so are open uploads, which are
    asked for with every part; so one process at a time may write.
    """

    def __init__(self, uploads: Dao[FileUpload], *, clock: Clock) -> None:
        self._uploads = uploads
        self._clock = clock
        self._tallies: dict[str, BoxUsage] = {}
        self._open = LruCache[FileUpload](_KNOWN_UPLOADS)
        self._moves = 0

    async def get(self, file_id: str, *, box_id: str | None = None) -> FileUpload:
        """The upload with this id; :class:`~connector.archive.errors.FileUploadNotFound` if not (in that box)."""
        upload = self._open.get(file_id)
        if upload is None:
            upload = await self._read(file_id)
        if upload is None or box_id not in (None, upload.box_id):
            raise FileUploadNotFound(f"There is no upload {file_id!r} in this box.", file_id=file_id)
        return upload

    async def _read(self, file_id: str) -> FileUpload | None:
        moves = self._moves
        try:
            upload = await self._uploads.get_by_id(file_id)
        except NotFound:
            return None
        # What was read while one was being moved may be of the time before.
        if upload.state == "init" and moves == self._moves:
            self._open.put(file_id, upload)
        return upload

    async def find(self, file_id: str) -> FileUpload | None:
        """The upload with this id as the database has it now, or None."""
        return await self._read(file_id)

    async def find_alias(self, box_id: str, alias: str) -> list[FileUpload]:
        """The uploads of this alias in the box: one at most, more only in archives of an earlier version."""
        return [upload async for upload in self._uploads.find_all({"box_id": box_id, "alias": alias})]

    async def page(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """Uploads of a box in all states, and their total number."""
        where = {"box_id": box_id}
        found = self._uploads.find_all(where, skip=skip, limit=limit, sort=sort)
        return [upload async for upload in found] if limit else [], await self._uploads.count(where)

    def find_all(self, **where: Any) -> AsyncIterator[FileUpload]:
        """All uploads with these field values, the oldest first."""
        return self._uploads.find_all(where, sort=[("created", 1)])

    def find_unfinished(self) -> AsyncIterator[FileUpload]:
        """Uploads that the interrogation has not brought to an end, the oldest first."""
        return self._uploads.find_all({"state": {"$in": list(UNFINISHED)}}, sort=[("created", 1)])

    async def tally(self, box_id: str) -> BoxUsage:
        """How full the box is; counted through once, then kept up to date."""
        tally = self._tallies.get(box_id)
        if tally is None:
            tally = BoxUsage()
            async for upload in self._uploads.find_all({"box_id": box_id, "state": {"$in": list(_STANDING)}}):
                tally.count(upload, 1)
            # Whoever was faster has the same numbers and may have gone on counting.
            tally = self._tallies.setdefault(box_id, tally)
        return tally

    async def add(self, upload: FileUpload) -> None:
        """Enter a new upload."""
        tally = await self.tally(upload.box_id)
        await self._uploads.insert(upload)
        tally.count(upload, 1)
        self._open.put(upload.id, upload)

    async def move(self, upload: FileUpload, state: UploadState, **changes: Any) -> FileUpload | None:
        """Bring an upload from the state it was read in to another one; ``None`` if it has left that state since,
        or is gone."""
        tally = await self.tally(upload.box_id)
        now = moment(self._clock)
        try:
            moved = await self._uploads.compare_and_set(
                upload.id, expected={"state": upload.state}, changes={"state": state, "state_updated": now, **changes}
            )
        except NotFound:
            moved = None
        except BaseException:
            # It may have been moved all the same: count again.
            self._tallies.pop(upload.box_id, None)
            raise
        finally:
            self._moves += 1
            self._open.drop(upload.id)
        if moved is not None:
            tally.count(upload, -1)
            tally.count(moved, 1)
        return moved

    async def remove(self, upload: FileUpload) -> None:
        """Delete the document of an upload that failed or was cancelled; it is no error if it is gone."""
        self._open.drop(upload.id)
        with suppress(NotFound):
            await self._uploads.delete(upload.id)
