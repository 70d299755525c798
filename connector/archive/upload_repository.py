"""The documents of file uploads, and their changes of state, with which their boxes' counters change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs

from connector.archive.boxes import box_state_error
from connector.archive.database import Database
from connector.archive.errors import FileUploadNotFound
from connector.archive.models import FileUpload, UploadState
from connector.archive.settings import Clock, utc_now
from connector.archive.upload_checks import usage_of
from connector.errors import LocalError
from persistence.documents import Sort
from persistence.errors import NotFound


class UploadChanged(LocalError):
    """The upload is gone, or no longer in the state in which it was read."""


@attrs.frozen(eq=False)
class UploadRepository:
    """All uploads of an archive, in the collections of a transaction where they are changed."""

    _database: Database
    _clock: Clock

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
            return await self._database.uploads.get_by_id(file_id)
        return None

    async def find_alias(self, box_id: str, alias: str) -> FileUpload | None:
        """Return the upload of this alias in the box, if there is one."""
        return await self._database.uploads.find_one({"box_id": box_id, "alias": alias})

    async def page(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """Return uploads of a box in all states, and their total number."""
        uploads, where = self._database.uploads, {"box_id": box_id}
        found = uploads.find_all(where, skip=skip, limit=limit, sort=sort)
        return [upload async for upload in found] if limit else [], await uploads.count(where)

    def find_all(self, **where: Any) -> AsyncIterator[FileUpload]:
        """All uploads with these field values, the oldest first."""
        return self._database.uploads.find_all(where, sort=[("created", 1)])

    async def count_encrypted_before(self, end: datetime, storage_alias: str) -> int:
        """How many uploads to a hub are not interrogated yet and were created before `end`."""
        waiting = {"storage_alias": storage_alias, "state": {"$in": ["init", "inbox"]}, "created": {"$lt": end}}
        return await self._database.uploads.count(waiting)

    async def move(
        self, upload: FileUpload, state: UploadState, *, needs_open_box: bool = False, **changes: Any
    ) -> FileUpload:
        """Change the state of an upload, further fields with it, and the counters of its box.

        Raises:
            UploadChanged: It is gone, or no longer in the state in which `upload` was read.
            BoxStateError: The box is not open, and `needs_open_box`.
        """
        changes |= {"state": state, "state_updated": utc_now(self._clock)}
        moved = None
        with suppress(NotFound):
            moved = await self._database.uploads.compare_and_set(
                upload.id, expected={"state": upload.state}, changes=changes
            )
        if moved is None:
            raise UploadChanged(f"The upload {upload.id} is no longer {upload.state}.")
        before, after = usage_of(upload), usage_of(moved)
        increments = {name: after[name] - before[name] for name in after}
        expected = {"state": "open"} if needs_open_box else {}
        # Also with nothing to count: it makes this transaction conflict with one that changes the box's state.
        if any(increments.values()) or needs_open_box:
            box = await self._database.boxes.compare_and_set(upload.box_id, expected=expected, increments=increments)
            if box is None:
                raise box_state_error(await self._database.boxes.get_by_id(upload.box_id))
        return moved
