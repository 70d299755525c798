"""The journals of unfinished uploads, so that the next run resumes at the first missing part.

A journal holds the file's secrets sealed to the user's own Crypt4GH key: whoever reads it learns what was uploaded
under which digests, but can neither decrypt nor forge a part.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import UUID

import attrs

from connector.crypt4gh.keys import KeyPair
from connector.local.failures import local_failures
from connector.local.journal import JournalFile, load
from connector.local.lock_file import LockFile
from connector.local.source_file import SourceState
from connector.upload.source import UploadSource
from connector.upload.states import ANNOUNCED_KIND, KIND, SentPart, StartedUpload, UploadState, fold, head_facts

SUFFIX = ".upload"


def lock_path(journal: Path) -> Path:
    """The lock file of the process that works on the upload of `journal`."""
    return journal.with_name(journal.name + ".lock")


@attrs.frozen
class UploadJournals:
    """The journals of unfinished uploads in one folder. Methods block: call them in threads."""

    folder: Path
    keys: KeyPair

    def path(self, box: UUID, source: UploadSource) -> Path:
        """Where the journal of this source in this box is."""
        name = "\0".join([str(box), source.alias, str(source.path.absolute())])
        return self.folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{SUFFIX}"

    def find(self, box: UUID, source: UploadSource, state: SourceState) -> UploadState | None:
        """What an earlier run has left of the upload of this source, if anything.

        `state`: of the source now. If it is not what was being uploaded, that upload cannot be resumed.
        """
        path = self.path(box, source)
        journal = load(path)
        left = None if journal is None else fold(journal, self.keys.private)
        if journal is None or left is None or left.started is None:
            return left
        # Device and inode are left out: they differ between the machines that share a file system.
        changed = (journal.head.get("size"), journal.head.get("mtime_ns")) != (state.size, state.mtime_ns)
        if changed or self._may_have_changed(left, path, source):
            return attrs.evolve(left, started=None, changed=True)
        return left

    def claim(self, box: UUID, source: UploadSource) -> LockFile:
        """Keep other processes off this upload; see `take_or_wait`."""
        with local_failures("write", self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LockFile.take_or_wait(lock_path(self.path(box, source)), source.alias)

    def announce(self, box: UUID, source: UploadSource, state: SourceState) -> None:
        """Note that the archive is about to be asked to create an upload for this source, which is locked by now."""
        facts = {"box": str(box), "alias": source.alias, "size": state.size}
        JournalFile.begin(self.path(box, source), ANNOUNCED_KIND, facts, lasting=False).close()

    def begin(
        self, box: UUID, source: UploadSource, state: SourceState, started: StartedUpload, sealed: SentPart | None
    ) -> JournalFile:
        """Start a journal for an upload that the archive has just created.

        Given its only part, it need not outlive a power cut: that one is soon sent again.
        """
        facts = {
            "box": str(box),
            "alias": source.alias,
            "path": str(source.path.absolute()),
            "size": state.size,
            "mtime_ns": state.mtime_ns,
            **head_facts(started, self.keys.public, sealed),
        }
        return JournalFile.begin(self.path(box, source), KIND, facts, lasting=sealed is None)

    def resume(self, box: UUID, source: UploadSource) -> JournalFile:
        """Add to the journal of an earlier run."""
        path = self.path(box, source)
        journal = load(path)
        assert journal is not None, "it was found before, under the lock"
        return JournalFile.resume(path, journal)

    def remove(self, box: UUID, source: UploadSource) -> None:
        """Nothing is left of the upload of this source."""
        path = self.path(box, source)
        with local_failures("remove", path):
            path.unlink(missing_ok=True)

    @staticmethod
    def _may_have_changed(left: UploadState, path: Path, source: UploadSource) -> bool:
        """Whether the source may have been changed since, where its modification time and the journal do not tell.

        Older versions noted no digests of the source. The time of its last status change (ctime), which cannot be set,
        then tells: a file that was written after the last record is not resumed.
        """
        if left.is_verifiable:
            return False
        with local_failures("read", source.path):
            return os.stat(source.path).st_ctime_ns > os.stat(path).st_mtime_ns
