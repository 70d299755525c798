"""The documents of file uploads: their changes of state, and how much of each box is in use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs

from connector.archive.errors import FileUploadNotFound
from connector.archive.models import REPLACEABLE, UNFINISHED, FileUpload, UploadState
from connector.archive.settings import Clock, utc_now
from persistence.documents import Dao, Sort
from persistence.errors import NotFound

_COUNTED = ("init", "inbox", "interrogated", "awaiting_archival", "archived")


@attrs.define
class BoxUsage:
    """How many uploads of a box are in `init`, and the bytes of plaintext that its valid uploads take up."""

    open_uploads: int = 0
    used_size: int = 0

    def count(self, upload: FileUpload, sign: int) -> None:
        """Add an upload (`sign` 1) or subtract it (-1)."""
        if upload.state == "init":
            self.open_uploads += sign
        if upload.state not in REPLACEABLE:
            self.used_size += sign * upload.decrypted_size


@attrs.define(eq=False)
class UploadRepository:
    """All uploads of an archive. The only place that writes their documents.

    The usage of boxes is kept in memory, since a box may hold many thousands of files; so one process at a time may
    write.
    """

    _uploads: Dao[FileUpload]
    _clock: Clock
    _usage: dict[str, BoxUsage] = attrs.field(factory=dict, init=False)

    async def get(self, file_id: str, *, box_id: str | None = None) -> FileUpload:
        """Return an upload.

        Raises:
            FileUploadNotFound: There is none with this id, or it is in another box than `box_id`.
        """
        upload = await self.find(file_id)
        if upload is None or box_id not in (None, upload.box_id):
            raise FileUploadNotFound(f"There is no upload {file_id!r} in this box.", file_id=file_id)
        return upload

    async def find(self, file_id: str) -> FileUpload | None:
        """Return the upload with this id, if there is one."""
        with suppress(NotFound):
            return await self._uploads.get_by_id(file_id)
        return None

    async def find_alias(self, box_id: str, alias: str) -> list[FileUpload]:
        """The uploads of this alias in the box: one at most, more only in archives of an earlier version."""
        return [upload async for upload in self._uploads.find_all({"box_id": box_id, "alias": alias})]

    async def page(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """Return uploads of a box in all states, and their total number."""
        where = {"box_id": box_id}
        found = self._uploads.find_all(where, skip=skip, limit=limit, sort=sort)
        return [upload async for upload in found] if limit else [], await self._uploads.count(where)

    def find_all(self, **where: Any) -> AsyncIterator[FileUpload]:
        """All uploads with these field values, the oldest first."""
        return self._uploads.find_all(where, sort=[("created", 1)])

    def find_unfinished(self) -> AsyncIterator[FileUpload]:
        """All uploads that are to be interrogated or registered, the oldest first."""
        return self._uploads.find_all({"state": {"$in": list(UNFINISHED)}}, sort=[("created", 1)])

    async def count_encrypted_before(self, end: datetime, storage_alias: str) -> int:
        """How many uploads to a hub are not interrogated yet and were created before `end`."""
        waiting = {"storage_alias": storage_alias, "state": {"$in": ["init", "inbox"]}, "created": {"$lt": end}}
        return await self._uploads.count(waiting)

    async def usage(self, box_id: str) -> BoxUsage:
        """How much of the box is in use: counted once from the documents, then kept up to date."""
        usage = self._usage.get(box_id)
        if usage is None:
            usage = BoxUsage()
            async for upload in self._uploads.find_all({"box_id": box_id, "state": {"$in": list(_COUNTED)}}):
                usage.count(upload, 1)
            # Another task that counted meanwhile may have updated its own since.
            usage = self._usage.setdefault(box_id, usage)
        return usage

    async def add(self, upload: FileUpload) -> None:
        """Insert a new upload."""
        usage = await self.usage(upload.box_id)
        await self._uploads.insert(upload)
        usage.count(upload, 1)

    async def move(self, upload: FileUpload, state: UploadState, **changes: Any) -> FileUpload | None:
        """Change the state of an upload, and further fields with it.

        Returns:
            The changed upload; `None` if it is gone, or no longer in the state in which `upload` was read.
        """
        usage = await self.usage(upload.box_id)
        changes |= {"state": state, "state_updated": utc_now(self._clock)}
        try:
            moved = await self._uploads.compare_and_set(upload.id, expected={"state": upload.state}, changes=changes)
        except NotFound:
            return None
        except BaseException:
            # It may have been changed all the same: count again.
            self._usage.pop(upload.box_id, None)
            raise
        if moved is not None:
            usage.count(upload, -1)
            usage.count(moved, 1)
        return moved

    async def remove(self, upload: FileUpload) -> None:
        """Delete the document of an upload that failed or was cancelled; it is no error if it is gone."""
        with suppress(NotFound):
            await self._uploads.delete(upload.id)
