"""The upload box of a work package: the API calls of an upload with the tokens that they need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import trio

from connector.clients.cached_value import CachedValue
from connector.clients.uploads import UploadClient
from connector.clients.work_packages import WorkPackageClient
from connector.errors import ConnectorError
from connector.local.names import normalized
from connector.transfer import Notify
from connector.upload.existing import REPLACEABLE
from connector.wire.payloads import CreatedUpload, FileUpload, UploadCompletion, UploadCreation
from connector.wire.tokens import WorkOrderToken


class UploadBox:
    """One upload box. Tokens are requested for `research_box`; `uploads` is the client of its file upload box."""

    def __init__(self, packages: WorkPackageClient, uploads: UploadClient, research_box: UUID) -> None:
        self._packages = packages
        self._uploads = uploads
        self.id = research_box
        self._research_box = research_box
        self._listed: dict[str, FileUpload] | None = None
        self._unlisted: ConnectorError | None = None
        self._listing = trio.Lock()

    def pages(self) -> AsyncIterator[Sequence[FileUpload]]:
        """All file uploads in the box, of every state, page by page, sorted by alias."""
        return self._uploads.pages(self._packages.box_token(self._research_box, "view"))

    async def list(self) -> list[FileUpload]:
        """All file uploads in the box, of every state, sorted by alias."""
        return [upload async for page in self.pages() for upload in page]

    def listed(self, alias: str) -> FileUpload | None:
        """The upload with `alias` in the last listing of `find`; `None` also before the first one."""
        return None if self._listed is None else self._listed.get(normalized(alias))

    async def find(self, alias: str, *, fresh: bool = False) -> FileUpload | None:
        """The upload with `alias`, unless a new one would replace it, from one listing for all callers.

        `fresh`: list the box again, for uploads that may be newer.

        Raises:
            ConnectorError: The error of the listing, also in all later calls.
        """
        async with self._listing:
            if self._unlisted is not None:
                raise self._unlisted
            if self._listed is None or fresh:
                try:
                    found = [upload async for page in self.pages() for upload in page]
                except ConnectorError as error:
                    self._unlisted = error
                    raise
                self._listed = {normalized(upload.alias): upload for upload in found if upload.state not in REPLACEABLE}
            return self._listed.get(normalized(alias))

    def create_token(self, alias: str) -> CachedValue[WorkOrderToken]:
        """The token for the announcement of a file."""
        return self._packages.box_token(self._research_box, "create", alias=alias)

    async def create(
        self, token: CachedValue[WorkOrderToken], creation: UploadCreation, notify: Notify | None = None
    ) -> CreatedUpload:
        """Announce a file; `notify` is called for each try that failed."""
        return await self._uploads.create(token, creation, notify)

    def upload_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the part URLs of one file, shared by all its parts."""
        return self._packages.box_token(self._research_box, "upload", file_id=file_id)

    async def part_url(self, token: CachedValue[WorkOrderToken], file_id: UUID, number: int) -> str:
        """A URL to put one part to."""
        return await self._uploads.part_url(token, file_id, number)

    def close_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the completion of one file."""
        return self._packages.box_token(self._research_box, "close", file_id=file_id)

    async def complete(self, token: CachedValue[WorkOrderToken], file_id: UUID, completion: UploadCompletion) -> None:
        """Complete an upload."""
        await self._uploads.complete(token, file_id, completion)

    async def delete(self, file_id: UUID) -> None:
        """Delete a file upload."""
        await self._uploads.delete(self._packages.box_token(self._research_box, "delete", file_id=file_id), file_id)
