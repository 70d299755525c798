"""What the uploads of one batch share, and what one of them holds on this machine."""

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

    `hub_key` returns the public key of a storage alias; `notes` are the records of what earlier runs finished in the
    box; `random_bytes` generates keys. With `overwrite` what is in the box is replaced, unless an earlier run on this
    machine sent it from the same source; with `verify_existing` the sources are read to compare their content.
    """

    run: RunContext
    box: UploadBox
    objects: ObjectClient
    keys: KeyPair
    hub_key: Callable[[str], Awaitable[bytes]]
    journals: UploadJournals
    notes: FinishedFiles
    overwrite: bool = False
    verify_existing: bool = False
    random_bytes: Callable[[int], bytes] = os.urandom


class LockedSource:
    """A source that is being uploaded, and the lock that keeps other processes off its upload.

    Methods block, and are called in threads; `check_lock` is the only one that does not.
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
            NotReadyError: If that may have died.
        """
        if self._file is None:
            self._file = open_source(self.source.path)
        if self._lock is None:
            self._lock = self._context.journals.claim(self._context.box.id, self.source)
        return self._file

    def check(self) -> None:
        """Raise `LocalError` if another process has taken over."""
        if self._lock is not None:
            self._lock.check()

    async def check_lock(self) -> None:
        """`check` before anything is sent to the upload: parts of another process would be other bytes."""
        if self._lock is not None and self._lock.may_be_lost:
            await self._context.run.in_thread(self._lock.check)

    def release(self) -> None:
        """Release source and lock; `take` may be called again."""
        file, self._file = self._file, None
        claim, self._lock = self._lock, None
        if file is not None:
            file.close()
        if claim is not None:
            claim.release()
