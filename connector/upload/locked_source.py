"""What an upload holds on this machine: its open source, and the lock that keeps other processes off it."""

from __future__ import annotations

from uuid import UUID

from connector.local.lock_file import LockFile
from connector.local.source_file import SourceFile
from connector.upload.journals import UploadJournals
from connector.upload.source import UploadSource, open_source


class LockedSource:
    """The source of an upload into ``box``. Methods block: call in threads."""

    def __init__(self, source: UploadSource, box: UUID, journals: UploadJournals) -> None:
        self._source = source
        self._box = box
        self._journals = journals
        self._file: SourceFile | None = None
        self._claim: LockFile | None = None

    def take(self) -> SourceFile:
        """Open the source and lock its upload; may be called again.

        Raises :class:`~connector.errors.LocalError` if the file cannot be read, or another process uploads it,
        :class:`~connector.transfer.NotReadyError` if that may have died.
        """
        if self._file is None:
            self._file = open_source(self._source.path)
        if self._claim is None:
            self._claim = self._journals.claim(self._box, self._source)
        return self._file

    def check(self) -> None:
        """Raise :class:`~connector.errors.LocalError` if another process has taken over."""
        if self._claim is not None:
            self._claim.check()

    @property
    def may_be_lost(self) -> bool:
        """Whether :meth:`check` is worth its way to a thread."""
        return self._claim is not None and self._claim.may_be_lost

    def release(self) -> None:
        """Release source and lock; :meth:`take` may be called again."""
        file, self._file = self._file, None
        claim, self._claim = self._claim, None
        if file is not None:
            file.close()
        if claim is not None:
            claim.release()
