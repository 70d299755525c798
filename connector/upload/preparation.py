"""What an upload holds on this machine before the archive knows of it: the open file, and the claim on it."""

from __future__ import annotations

from uuid import UUID

import attrs

from connector.local.claim import Claim
from connector.local.source_file import SourceFile
from connector.upload.resumption import LeftUpload, UploadJournals
from connector.upload.source import UploadSource, open_source


@attrs.frozen
class Prepared:
    """A source that is ready to be announced, and what an earlier run has ``left`` of its upload."""

    file: SourceFile
    left: LeftUpload | None


class Preparation:
    """Opens the source of an upload into ``box`` and keeps other processes off it. Methods block: call in threads."""

    def __init__(self, source: UploadSource, box: UUID, journals: UploadJournals) -> None:
        self._source = source
        self._box = box
        self._journals = journals
        self._file: SourceFile | None = None
        self._claim: Claim | None = None

    def make(self) -> Prepared:
        """See what is left of an earlier run; if nothing, note that the archive is about to be asked.

        May be called again before each try. Raises :class:`~connector.errors.LocalError` if the file cannot be read,
        or another process uploads it, :class:`~connector.transfer.PostponedError` if that may have died.
        """
        if self._file is None:
            self._file = open_source(self._source.path)
        if self._claim is None:
            self._claim = self._journals.claim(self._box, self._source)
        left = self._journals.find(self._box, self._source, self._file.state)
        if left is None:
            self.announce()
        return Prepared(self._file, left)

    def announce(self) -> None:
        """Note that the archive is about to be asked to create an upload."""
        assert self._file is not None, "make() comes first"
        self._journals.announce(self._box, self._source, self._file.state)

    def forget(self) -> None:
        """Drop that note: the archive holds nothing of it. Refused if another process has taken over."""
        self.check()
        self._journals.forget(self._box, self._source)

    def check(self) -> None:
        """Raise :class:`~connector.errors.LocalError` if another process has taken over."""
        if self._claim is not None:
            self._claim.check()

    @property
    def may_be_lost(self) -> bool:
        """Whether :meth:`check` is worth its way to a thread."""
        return self._claim is not None and self._claim.may_be_lost

    def release(self) -> None:
        """Release file and lock; :meth:`make` may be called again."""
        file, self._file = self._file, None
        claim, self._claim = self._claim, None
        if file is not None:
            file.close()
        if claim is not None:
            claim.release()
