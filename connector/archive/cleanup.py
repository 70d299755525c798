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

from connector.archive.file_registry import FileRegistry
from connector.archive.hubs import Hub, Hubs
from connector.archive.ingest import Removal
from connector.archive.key_store import KeyStore
from connector.archive.models import UNFINISHED
from connector.archive.upload_repository import UploadRepository
from persistence.errors import NotFound, PersistenceError
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.values import UploadRef

_log = logging.getLogger(__name__)

_LOST = "The archive has lost what was sent of this file; upload it again."


@attrs.frozen(eq=False)
class Cleanup:
    """Removes what has no counterpart between the storage and the documents of an archive.

    `settle` comes before the first request, `documents` before the first interrogation; `objects`
    reads every object, while the archive is serving.
    """

    _uploads: UploadRepository
    _registry: FileRegistry
    _key_store: KeyStore
    _removal: Removal
    _hubs: Hubs

    async def settle(self) -> None:
        """Complete or undo interrupted steps, so that multipart uploads and documents of open uploads correspond."""
        for hub in self._hubs:
            if isinstance(hub.storage, FilesystemStorage):
                await hub.storage.settle()
            await self._try(f"open uploads of {hub.alias}", self._settle_uploads, hub)

    async def documents(self) -> None:
        """Complete interrupted deletions, and remove secrets without a file."""
        await self._try("deletions", self._finish_deletions)
        await self._try("secrets", self._forget_secrets)

    async def objects(self) -> None:
        """Remove objects without a document, and files of the storage without an object."""
        for hub in self._hubs:
            for bucket in hub.buckets:
                await self._try(f"objects in {bucket} of {hub.alias}", self._remove_objects, hub, bucket)
            if isinstance(hub.storage, FilesystemStorage):
                await self._try(f"files of {hub.alias}", hub.storage.remove_leftovers)

    async def _settle_uploads(self, hub: Hub) -> None:
        for left in await hub.storage.list_uploads(hub.permanent):
            # Interrogations start again.
            await _abort(hub, left)
        for left in await hub.storage.list_uploads(hub.inbox):
            upload = await self._uploads.find(left.object_id)
            if upload is None or upload.state != "init" or upload.upload_id != left.upload_id:
                await _abort(hub, left)
        # All are read first: a lost one changes the state that is searched for.
        for upload in [upload async for upload in self._uploads.find_all(state="init", storage_alias=hub.alias)]:
            if not (
                await hub.storage.upload_exists(hub.inbox, upload.id, upload.upload_id)
                or await hub.storage.object_exists(hub.inbox, upload.id)
            ):
                _log.error("The upload %s (%r) is lost.", upload.id, upload.alias)
                await self._uploads.move(upload, "failed", failure=_LOST)

    async def _finish_deletions(self) -> None:
        async for upload in self._uploads.find_all(state="cancelled"):
            if upload.secret_id is not None:
                await self._removal.free(upload)

    async def _forget_secrets(self) -> None:
        used = {file.secret_id async for file in self._registry.find_all()}
        used |= {upload.secret_id or "" async for upload in self._uploads.find_unfinished()}
        for secret_id in [one async for one in self._key_store.ids() if one not in used]:
            await self._key_store.forget(secret_id)

    async def _remove_objects(self, hub: Hub, bucket: str) -> None:
        async for found in hub.storage.list_objects(bucket):
            if not await self._is_referenced(found.object_id, in_inbox=bucket == hub.inbox):
                with suppress(NotFound):
                    await hub.storage.delete_object(bucket, found.object_id)

    async def _is_referenced(self, file_id: str, *, in_inbox: bool) -> bool:
        upload = await self._uploads.find(file_id)
        if upload is not None and (upload.state in UNFINISHED or (upload.state == "init" and in_inbox)):
            return True
        # In this order: an upload that is finished by now is registered.
        return not in_inbox and await self._registry.find(file_id) is not None

    async def _try(self, what: str, step: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a step that may fail: the next start repeats it."""
        try:
            await step(*arguments)
        except PersistenceError as error:
            _log.error("Leftovers could not be removed (%s): %s", what, error)


async def _abort(hub: Hub, left: UploadRef) -> None:
    with suppress(NotFound):
        await hub.storage.abort_upload(left.bucket, left.object_id, left.upload_id)
