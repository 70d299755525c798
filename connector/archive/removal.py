"""Frees what an upload takes up besides its document: parts, objects, registry entry, secret."""

from __future__ import annotations

from contextlib import suppress

from connector.archive.file_registry import FileRegistry
from connector.archive.key_store import KeyStore
from connector.archive.models import FileUpload
from connector.archive.settings import INBOX_BUCKET, PERMANENT_BUCKET
from connector.archive.staging import StagingArea
from persistence.errors import NotFound
from persistence.objects.protocol import ObjectStorage


class Removal:
    """Frees uploads whose document says already that they are no more; so it may be repeated after a crash."""

    def __init__(
        self, registry: FileRegistry, key_store: KeyStore, staging: StagingArea, storage: ObjectStorage
    ) -> None:
        self._registry = registry
        self._key_store = key_store
        self._staging = staging
        self._storage = storage

    async def free(self, upload: FileUpload) -> None:
        """Remove all there is of an upload, however far it came. What is gone already is no error."""
        with suppress(NotFound):
            await self._storage.abort_upload(INBOX_BUCKET, upload.id, upload.upload_id)
        with suppress(NotFound):
            await self._storage.delete_object(INBOX_BUCKET, upload.id)
        if upload.secret_id is not None:
            # The entry first: nothing is to point to what is not there any more.
            await self._registry.remove(upload.id)
            await self._staging.remove(upload.id)
            with suppress(NotFound):
                await self._storage.delete_object(PERMANENT_BUCKET, upload.id)
            await self._key_store.forget(upload.secret_id)
