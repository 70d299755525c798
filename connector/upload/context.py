"""The context that the uploads of one batch share, and the locked source of one of them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import attrs

from connector.clients.objects import ObjectClient
from connector.crypt4gh.keys import KeyPair
from connector.local.finished import FinishedFiles
from connector.local.lock_file import LockFile
from connector.local.source_file import SourceFile
from connector.transfer import RunContext
from connector.upload.box import UploadBox
from connector.upload.journals import UploadJournals
from connector.upload.source import UploadSource, open_source


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
