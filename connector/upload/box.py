"""The upload box of a work package: the API calls of an upload with the tokens that they need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import trio

from connector.clients.cached_value import CachedValue
from connector.clients.uploads import UploadClient
from connector.clients.work_packages import WorkPackageClient
from connector.errors import ConnectorError
from connector.transfer import Notify
from connector.upload.existing import REPLACEABLE
from connector.wire.payloads import CreatedUpload, FileUpload, UploadCompletion, UploadCreation
from connector.wire.tokens import WorkOrderToken


class UploadBox:
    """One upload box. Tokens are asked for with `research_box`; `uploads` knows the box's other id."""

    def __init__(self, packages: WorkPackageClient, uploads: UploadClient, research_box: UUID) -> None:
        self._packages = packages
        self._uploads = uploads
        self.id = research_box
        self._research_box = research_box
        self._listed: dict[str, FileUpload] | None = None
        self._unlisted: ConnectorError | None = None
        self._listing = trio.Lock()

    def pages(self) -> AsyncIterator[Sequence[FileUpload]]:
        """All file uploads in the box, of every state, a page at a time, sorted by alias."""
        return self._uploads.pages(self._packages.box_token(self._research_box, "view"))

    async def list(self) -> list[FileUpload]:
        """The same at once."""
        return [upload async for page in self.pages() for upload in page]

    def listed(self, alias: str) -> FileUpload | None:
        """What stood under `alias` when `find` listed the box last; `None` also if it did not yet."""
        return None if self._listed is None else self._listed.get(alias)

    async def find(self, alias: str, *, fresh: bool = False) -> FileUpload | None:
        """What stands under `alias` and is not about to be replaced, from one listing for all who ask.

        `fresh`: list the box again, for what may be newer. Where it could not be listed, the error is that of all
        who ask: `RefusedError`, or `BrokenError` after all tries.
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
                self._listed = {upload.alias: upload for upload in found if upload.state not in REPLACEABLE}
            return self._listed.get(alias)

    def create_token(self, alias: str) -> CachedValue[WorkOrderToken]:
        """The token for the announcement of a file."""
        return self._packages.box_token(self._research_box, "create", alias=alias)

    async def create(
        self, order: CachedValue[WorkOrderToken], creation: UploadCreation, notify: Notify | None = None
    ) -> CreatedUpload:
        """Announce a file; `notify` is told of each try that failed."""
        return await self._uploads.create(order, creation, notify)

    def upload_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the part URLs of one file; one lease serves all its parts."""
        return self._packages.box_token(self._research_box, "upload", file_id=file_id)

    async def part_url(self, order: CachedValue[WorkOrderToken], file_id: UUID, number: int) -> str:
        """A URL to put one part to."""
        return await self._uploads.part_url(order, file_id, number)

    def close_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the completion of one file."""
        return self._packages.box_token(self._research_box, "close", file_id=file_id)

    async def complete(self, order: CachedValue[WorkOrderToken], file_id: UUID, completion: UploadCompletion) -> None:
        """Say that all parts are there."""
        await self._uploads.complete(order, file_id, completion)

    async def delete(self, file_id: UUID) -> None:
        """Give a file upload up."""
        await self._uploads.delete(self._packages.box_token(self._research_box, "delete", file_id=file_id), file_id)
