"""Removes what a killed server has left without its counterpart, when the archive is served again.

Every step of the archive has an order in which a crash leaves at most too much, never too little: a document is written
before what it announces, and changed before what it announces is removed. So whatever no document refers to may be
removed. Only the process that serves the archive does this; others that have it open only read objects and secrets.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio

from connector.archive.file_registry import FileRegistry
from connector.archive.ingest import Removal
from connector.archive.key_store import KeyStore
from connector.archive.keys import remove_drafts
from connector.archive.models import UNFINISHED
from connector.archive.settings import DOWNLOAD_BUCKET, INBOX_BUCKET, PERMANENT_BUCKET, ArchiveSettings
from connector.archive.upload_repository import UploadRepository
from persistence.errors import NotFound, PersistenceError
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.protocol import ObjectStorage

_log = logging.getLogger(__name__)

_LOST = "The archive has lost what was sent of this file; upload it again."


@attrs.frozen(eq=False)
class Cleanup:
    """Removes what has no counterpart between the storage and the documents of an archive.

    :meth:`settle` comes before the first request, :meth:`documents` before the first interrogation; :meth:`objects`
    reads every object, while the archive is serving.
    """

    _uploads: UploadRepository
    _registry: FileRegistry
    _key_store: KeyStore
    _removal: Removal
    _storage: ObjectStorage
    _settings: ArchiveSettings

    async def settle(self) -> None:
        """Complete or undo interrupted steps, so that multipart uploads and documents of open uploads correspond."""
        await trio.to_thread.run_sync(remove_drafts, self._settings.keys_path)
        if isinstance(self._storage, FilesystemStorage):
            await self._storage.settle()
        await self._try("open uploads", self._settle_uploads)

    async def documents(self) -> None:
        """Complete interrupted deletions, and remove secrets without a file."""
        await self._try("deletions", self._finish_deletions)
        await self._try("secrets", self._forget_secrets)

    async def objects(self) -> None:
        """Remove objects without a document, and files of the storage without an object."""
        for bucket, is_referenced in (
            (INBOX_BUCKET, self._is_referenced_in_inbox),
            (PERMANENT_BUCKET, self._is_referenced),
            (DOWNLOAD_BUCKET, self._is_referenced),
        ):
            await self._try(f"objects in {bucket}", lambda: self._remove_objects(bucket, is_referenced))  # noqa: B023 (called here)
        if isinstance(self._storage, FilesystemStorage):
            await self._try("files", self._storage.remove_leftovers)

    async def _settle_uploads(self) -> int:
        count = 0
        for left in await self._storage.list_uploads(PERMANENT_BUCKET):
            # Interrogations start again.
            count += await self._abort(PERMANENT_BUCKET, left.object_id, left.upload_id)
        for left in await self._storage.list_uploads(INBOX_BUCKET):
            upload = await self._uploads.find(left.object_id)
            if upload is None or upload.state != "init" or upload.upload_id != left.upload_id:
                count += await self._abort(INBOX_BUCKET, left.object_id, left.upload_id)
        # All are read first: a lost one changes the state that is searched for.
        for upload in [upload async for upload in self._uploads.find_all(state="init")]:
            if not (
                await self._storage.upload_exists(INBOX_BUCKET, upload.id, upload.upload_id)
                or await self._storage.object_exists(INBOX_BUCKET, upload.id)
            ):
                _log.error("The upload %s (%r) is lost.", upload.id, upload.alias)
                await self._uploads.move(upload, "failed", failure=_LOST)
        return count

    async def _finish_deletions(self) -> int:
        count = 0
        async for upload in self._uploads.find_all(state="cancelled"):
            if upload.secret_id is not None:
                count += await self._registry.find(upload.id) is not None
                await self._removal.free(upload)
        return count

    async def _forget_secrets(self) -> int:
        used = {file.secret_id async for file in self._registry.find_all()}
        async for upload in self._uploads.find_unfinished():
            if upload.secret_id is not None:
                used.add(upload.secret_id)
        left = [secret_id async for secret_id in self._key_store.ids() if secret_id not in used]
        for secret_id in left:
            await self._key_store.forget(secret_id)
        return len(left)

    async def _remove_objects(self, bucket: str, is_referenced: Callable[[str], Awaitable[bool]]) -> int:
        count = 0
        async for found in self._storage.list_objects(bucket):
            if not await is_referenced(found.object_id):
                with suppress(NotFound):
                    await self._storage.delete_object(bucket, found.object_id)
                    count += 1
        return count

    async def _is_referenced_in_inbox(self, file_id: str) -> bool:
        upload = await self._uploads.find(file_id)
        return upload is not None and upload.state in ("init", *UNFINISHED)

    async def _is_referenced(self, file_id: str) -> bool:
        # In this order: an upload that is finished by now is registered.
        upload = await self._uploads.find(file_id)
        if upload is not None and upload.state in UNFINISHED:
            return True
        return await self._registry.find(file_id) is not None

    async def _abort(self, bucket: str, object_id: str, upload_id: str) -> bool:
        with suppress(NotFound):
            await self._storage.abort_upload(bucket, object_id, upload_id)
            return True
        return False

    async def _try(self, what: str, step: Callable[[], Awaitable[int]]) -> None:
        """Run a step that may fail: the next start repeats it."""
        try:
            if await step():
                _log.info("Removed leftovers of an earlier run: %s.", what)
        except PersistenceError as error:
            _log.error("Leftovers could not be removed (%s): %s", what, error)
