"""The last steps of an upload, and their reverse: registering interrogated files, and removing files."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs

from connector.adapters.failures import MissingObjectError, storage_failures
from connector.archive.boxes import BoxService
from connector.archive.file_registry import FileRegistry
from connector.archive.hubs import Hubs
from connector.archive.key_store import KeyStore
from connector.archive.models import REPLACEABLE, FileUpload, RegisteredFile, UploadState
from connector.archive.staging import StagingArea
from connector.archive.upload_repository import UploadRepository
from persistence.errors import NotFound


class WithdrawnError(MissingObjectError):
    """The upload was cancelled or replaced while it was being interrogated or registered. The file itself is valid."""


@attrs.frozen(eq=False)
class Removal:
    """Removes uploads whose documents are cancelled or failed; may be repeated after a crash."""

    _registry: FileRegistry
    _key_store: KeyStore
    _staging: StagingArea
    _hubs: Hubs

    async def free(self, upload: FileUpload) -> None:
        """Remove all that an upload takes up besides its document, whatever its last state. Missing things are no
        error."""
        hub = self._hubs.get(upload.storage_alias)
        with suppress(NotFound):
            await hub.storage.abort_upload(hub.inbox, upload.id, upload.upload_id)
        with suppress(NotFound):
            await hub.storage.delete_object(hub.inbox, upload.id)
        if upload.secret_id is not None:
            # The registered file first: nothing may refer to what is gone.
            await self._registry.remove(upload.id)
            await self._staging.remove(hub, upload.id)
            with suppress(NotFound):
                await hub.storage.delete_object(hub.permanent, upload.id)
            await self._key_store.forget(upload.secret_id)


@attrs.frozen(eq=False)
class Ingest:
    """Registers uploads whose content was found valid. Each step may be repeated after a crash.

    Args:
        manual: Whether an interrogated upload is registered only when its box is archived.
    """

    _boxes: BoxService
    _uploads: UploadRepository
    _registry: FileRegistry
    _removal: Removal
    _hubs: Hubs
    manual: bool
    _known_boxes: set[str] = attrs.field(factory=set, init=False)

    async def register(self, upload: FileUpload) -> RegisteredFile | None:
        """Remove the inbox object of an upload in `interrogated` or `awaiting_archival`, and register the file.

        Returns:
            The registered file; `None` if the upload stays `interrogated` until a steward archives its box.

        Raises:
            WithdrawnError: The upload was cancelled or replaced meanwhile; nothing of it is left.
        """
        assert upload.secret_id is not None  # set together with the state
        hub = self._hubs.get(upload.storage_alias)
        with storage_failures():
            with suppress(NotFound):  # removed before a crash
                await hub.storage.delete_object(hub.inbox, upload.id)
            if upload.state == "interrogated":
                if self.manual and (await self._boxes.get(upload.box_id)).state != "archived":
                    return None
                upload = await self._moved(upload, "awaiting_archival")
            file = await self._registry.register(upload, secret_id=upload.secret_id or "")
            await self._moved(upload, "archived", accession=file.accession)
        return file

    async def find_archivable(self) -> list[FileUpload]:
        """The interrogated uploads of the boxes that another process has archived since the last call."""
        uploads: list[FileUpload] = []
        boxes: set[str] = set()
        with storage_failures():
            async for box in self._boxes.find_all(state="archived"):
                if box.id not in self._known_boxes:
                    uploads += [one async for one in self._uploads.find_all(box_id=box.id, state="interrogated")]
                    boxes.add(box.id)
        self._known_boxes.update(boxes)
        return uploads

    async def _moved(self, upload: FileUpload, state: UploadState, **changes: Any) -> FileUpload:
        moved = await self._uploads.move(upload, state, **changes) or await self._uploads.find(upload.id)
        if moved is None or moved.state in REPLACEABLE:
            # The call that withdrew it cannot know what was stored since.
            await self._removal.free(upload)
            raise WithdrawnError("The upload was cancelled while it was being registered.")
        return moved
