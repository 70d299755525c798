"""The context that the uploads of one batch share, their results, their box with its tokens, their locked sources."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

import attrs
import trio

from connector.clients.api_client import CachedValue
from connector.clients.objects import ObjectClient
from connector.clients.uploads import UploadClient
from connector.clients.work_packages import WorkPackageClient
from connector.crypt4gh.keys import KeyPair
from connector.errors import ConnectorError
from connector.local.finished import FinishedFiles
from connector.local.lock_file import LockFile
from connector.local.names import normalized
from connector.local.source_file import SourceFile
from connector.transfer import AlreadyThere, RunContext
from connector.upload.journals import UploadJournals, UploadSource, open_source
from connector.wire.payloads import FileUpload
from connector.wire.tokens import WorkOrderToken

REPLACEABLE = frozenset({"failed", "cancelled"})
"""States of an upload that a new one under the same alias replaces."""
OVERWRITABLE = frozenset({"init", "inbox"})
"""Further such states, if overwriting is asked for."""
COMPLETE = frozenset({"inbox", "interrogated", "awaiting_archival", "archived"})
"""States of an upload that was closed and did not fail."""


@attrs.frozen
class UploadedFile:
    """A finished upload. `size` and `sha256` (lower case hex) are of the plaintext; `already_there`: what was compared
    if the file was in the box already; `sha256` is `None` if that was the size alone.
    """

    alias: str
    file_id: UUID
    size: int
    sha256: str | None
    already_there: AlreadyThere | None = None


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
        return self.uploads.pages(self._packages.box_token(self.id, "view"))

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
        return self._packages.box_token(self.id, "create", alias=alias)

    def upload_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the part URLs of one file, shared by all its parts."""
        return self._packages.box_token(self.id, "upload", file_id=file_id)

    def close_token(self, file_id: UUID) -> CachedValue[WorkOrderToken]:
        """The token for the completion of one file."""
        return self._packages.box_token(self.id, "close", file_id=file_id)

    async def delete(self, file_id: UUID) -> None:
        """Delete a file upload."""
        await self.uploads.delete(self._packages.box_token(self.id, "delete", file_id=file_id), file_id)


@attrs.frozen(kw_only=True)
class UploadContext:
    """What the uploads of one batch share.

    Attributes:
        hub_key: Returns the public key of a storage alias.
        finished: The records of what earlier runs finished in the box.
        overwrite: Whether uploads in the box are replaced, unless an earlier run sent them from the same source.
        verify_existing: Whether sources are read to compare their content.
        random_bytes: Generates keys and nonces.
    """

    run: RunContext
    box: UploadBox
    objects: ObjectClient
    keys: KeyPair
    hub_key: Callable[[str], Awaitable[bytes]]
    journals: UploadJournals
    finished: FinishedFiles
    overwrite: bool = False
    verify_existing: bool = False
    random_bytes: Callable[[int], bytes] = os.urandom


class LockedSource:
    """A source that is being uploaded, and the lock file of its upload.

    Methods block, and are called in threads, except `check_lock`.
    """

    def __init__(self, source: UploadSource, context: UploadContext) -> None:
        self.source = source
        self._context = context
        self._file: SourceFile | None = None
        self._lock: LockFile | None = None

    def take(self) -> SourceFile:
        """Open the source and lock its upload; may be called again.

        Raises:
            LocalError: If the file cannot be read, or another process uploads it.
            NotReadyError: If whether that process still runs is not visible from here.
        """
        if self._file is None:
            self._file = open_source(self.source.path)
        if self._lock is None:
            self._lock = self._context.journals.lock(self._context.box.id, self.source)
        return self._file

    def check(self) -> None:
        """Raise `LocalError` if another process has taken over."""
        if self._lock is not None:
            self._lock.check()

    async def check_lock(self) -> None:
        """`check` before anything is sent: parts that another process encrypts have other bytes."""
        if self._lock is not None and self._lock.may_be_lost:
            await self._context.run.in_thread(self._lock.check)

    def release(self) -> None:
        """Release source and lock; `take` may be called again."""
        file, self._file = self._file, None
        lock_file, self._lock = self._lock, None
        if file is not None:
            file.close()
        if lock_file is not None:
            lock_file.release()
