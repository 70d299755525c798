"""The upload API (UCS): boxes, file uploads in them, and URLs for their parts; and a box with its tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from unicodedata import normalize
from uuid import UUID

import trio

from connector.clients.api_client import ApiClient, CachedValue, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiRequest, TokenRefusedError, error_from_response
from connector.clients.work_packages import WorkPackageClient
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.transfer import Notify
from connector.wire.payloads import (
    CreatedUpload,
    FileUpload,
    FileUploadPage,
    UploadCompletion,
    UploadCreation,
    WorkType,
    parse_json,
    parse_payload,
    write_payload,
)

PAGE_SIZE = 1000
"""The largest page that the contract allows."""
_WHO = "The upload service"


_OPERATORS = {"422": "Tell the archive's operators."}
_UNFINISHED = "What this machine has not finished is shown by: connector status"


class ListingRefusedError(TokenRefusedError):
    """A token to list the box was rejected (401). If new ones are rejected too, the archive verifies them with the key
    of a different service than the one that issues them; uploading, resuming and deleting need no listing."""

    def __init__(self) -> None:
        super().__init__(
            "The archive refuses to list the upload box (401).",
            hint=f"Tell the archive's operators. {_UNFINISHED}",
            status=401,
        )


def read_page(reply: ApiReply) -> FileUploadPage:
    """Read such a page."""
    if reply.status == 401:
        raise ListingRefusedError
    if reply.status != 200:
        raise error_from_response(reply, "list the upload box", hints=_OPERATORS, see=_UNFINISHED)
    return parse_payload(reply.body, FileUploadPage, what=_WHO)


def read_created(reply: ApiReply, alias: str) -> CreatedUpload:
    """Read the id of an announced file."""
    if reply.status != 201:
        raise error_from_response(reply, f"create an upload for {alias}")
    return parse_payload(reply.body, CreatedUpload, what=_WHO)


def read_part_url(reply: ApiReply) -> str:
    """Read a part URL."""
    if reply.status != 200:
        raise error_from_response(reply, "get a URL for a part")
    url = parse_json(reply.body, what=_WHO)
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise BrokenError("The upload service sent no valid part URL.", hint="Tell the archive's operators.")
    return url


def read_completed(reply: ApiReply) -> None:
    """Read the response to the completion: 204, since a 200 is what any proxy or login page in the way sends."""
    if reply.status != 204:
        raise error_from_response(reply, "complete the upload")


_SHOWN = "What is in the box is shown by: connector ls"
_DELETION_HINTS = {
    "boxStateError": "The box is locked or archived: ask the archive's data stewards to open it.",
    "boxVersionOutdated": "The box changes all the time; run the same command again later.",
    "fileUploadStateError": "The archive keeps the file from now on: ask its data stewards.",
    "uploadAbortError": "The storage does not give it up; run the same command again later.",
    **_OPERATORS,
}
_NOT_FOUND = frozenset({"boxNotFound", "fileUploadNotFound", "s3UploadNotFound", "s3UploadDetailsNotFound"})


def read_deleted(reply: ApiReply) -> None:
    """Read the response to a deletion; an upload that does not exist any more counts as deleted."""
    if reply.status == 204:  # as in `read_completed`
        return
    error = error_from_response(reply, "delete the upload", hints=_DELETION_HINTS, see=_SHOWN)
    if not (isinstance(error, RefusedError) and error.status == 404 and error.exception_id in _NOT_FOUND):
        raise error


class UploadClient:
    """The client of one upload service and one box (the file upload box's id, not the research data upload box's).

    `api_url` returns the service's present address; `max_listed` is more than any box holds, so that no listing is
    endless.
    """

    def __init__(self, api: ApiClient, api_url: Callable[[], str], box: UUID, *, max_listed: int = 1_000_000) -> None:
        self._api = api
        self._current_url = api_url
        self._box = box
        self._max_listed = max_listed

    @property
    def _uploads_url(self) -> str:
        return f"{self._current_url().rstrip('/')}/boxes/{self._box}/uploads"

    async def pages(self, token: CachedValue[WorkOrderToken]) -> AsyncIterator[Sequence[FileUpload]]:
        """All file uploads in the box, of every state, page by page, sorted by alias.

        Raises:
            ListingRefusedError: If new tokens are rejected too.
        """
        listed = 0
        while True:
            page = await self._api.authorized(token, partial(self._list_request, skip=listed), read_page)
            yield page.items
            listed += len(page.items)
            if not page.items or listed >= page.total_count:
                return
            if listed > self._max_listed:
                raise BrokenError(f"The upload box lists more than {self._max_listed} files.", hint="Tell the archive.")

    def _list_request(self, token: str, *, skip: int) -> ApiRequest:
        return ApiRequest("GET", self._uploads_url, token=token, params={"skip": skip, "limit": PAGE_SIZE})

    async def create(
        self, token: CachedValue[WorkOrderToken], creation: UploadCreation, notify: Notify | None = None
    ) -> CreatedUpload:
        """Announce a file; `TooManyOpenTransfersError` when the box is full."""
        return await self._api.authorized(
            token,
            lambda token: ApiRequest("POST", self._uploads_url, token=token, data=write_payload(creation)),
            partial(read_created, alias=creation.alias),
            notify=notify,
        )

    async def part_url(self, token: CachedValue[WorkOrderToken], file_id: UUID, number: int) -> str:
        """A URL to put part `number` to; short-lived, so it is fetched when the part is ready."""
        return await self._api.authorized(
            token,
            lambda token: ApiRequest("GET", f"{self._uploads_url}/{file_id}/parts/{number}", token=token),
            read_part_url,
        )

    async def complete(self, token: CachedValue[WorkOrderToken], file_id: UUID, completion: UploadCompletion) -> None:
        """Complete an upload; may be repeated."""
        data = write_payload(completion)
        await self._api.authorized(
            token,
            lambda token: ApiRequest("PATCH", f"{self._uploads_url}/{file_id}", token=token, data=data),
            read_completed,
        )

    async def delete(self, token: CachedValue[WorkOrderToken], file_id: UUID) -> None:
        """Delete an upload."""
        await self._api.authorized(
            token, lambda token: ApiRequest("DELETE", f"{self._uploads_url}/{file_id}", token=token), read_deleted
        )


REPLACEABLE = frozenset({"failed", "cancelled"})
"""States of an upload that a new one under the same alias replaces."""


class UploadBox:
    """One upload box: `uploads` is the client of its file upload box, whose calls take tokens for `research_box`."""

    def __init__(self, packages: WorkPackageClient, uploads: UploadClient, research_box: UUID) -> None:
        self._packages = packages
        self.uploads = uploads
        self.id = research_box
        self._listed: dict[str, FileUpload] | None = None
        self._unlisted: ConnectorError | None = None
        self._listing = trio.Lock()

    def pages(self) -> AsyncIterator[Sequence[FileUpload]]:
        """All file uploads in the box, of every state, page by page, sorted by alias."""
        return self.uploads.pages(self.token("view"))

    def listed(self, alias: str) -> FileUpload | None:
        """The upload with `alias` in the last listing of `find`; `None` also before the first one."""
        return None if self._listed is None else self._listed.get(normalize("NFC", alias))

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
                self._listed = {
                    normalize("NFC", upload.alias): upload for upload in found if upload.state not in REPLACEABLE
                }
            return self._listed.get(normalize("NFC", alias))

    def token(
        self, work_type: WorkType, *, alias: str | None = None, file_id: UUID | None = None
    ) -> CachedValue[WorkOrderToken]:
        """The token for one kind of operation on the box or on a file in it, shared by all its requests."""
        return self._packages.box_token(self.id, work_type, alias=alias, file_id=file_id)

    async def delete(self, file_id: UUID) -> None:
        """Delete a file upload."""
        await self.uploads.delete(self.token("delete", file_id=file_id), file_id)
