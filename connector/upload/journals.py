"""Sources of uploads: local files with their aliases in the box, their locks, and the journals of unfinished ones.

The next run resumes at the first missing part. A journal holds the file's secrets encrypted for the user's own Crypt4GH
key: it discloses what was uploaded and the digests, but without the private key no part can be decrypted or forged.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from pathlib import Path
from unicodedata import normalize
from uuid import UUID

import attrs

from connector.clients.objects import ObjectClient
from connector.clients.uploads import UploadBox
from connector.crypt4gh.keys import KeyPair, is_crypt4gh
from connector.crypt4gh.segments import file_size
from connector.errors import UsageError
from connector.local.disk import local_failures
from connector.local.files import SourceFile, SourceState
from connector.local.journal import JournalFile, load
from connector.local.lock_file import LockFile
from connector.local.state_folder import FinishedFile, FinishedFiles, state_failures
from connector.parts import check_object_size
from connector.transfer import RunContext
from connector.upload.states import ANNOUNCED_KIND, KIND, SentPart, StartedUpload, UploadState, fold, head_facts

MAX_ALIAS = 255


@attrs.frozen
class UploadSource:
    """A local file and its alias in the upload box."""

    path: Path = attrs.field(converter=Path)
    alias: str

    @cached_property
    def key(self) -> tuple[str, str]:
        """What identifies it in the records of unfinished and finished uploads: its alias, and its path without links.

        A file has several paths where links lead to it, as to the scratch folders of clusters. Blocks when first used.
        """
        return self.alias, os.path.realpath(self.path)

    @property
    def key_before(self) -> tuple[str, str]:
        """The same in records of earlier versions, which left the links in it."""
        return self.alias, str(self.path.absolute())

    def record(self, finished: FinishedFiles) -> FinishedFile | None:
        """The record of an earlier run that uploaded it, if there is one."""
        return finished.find(*self.key) or finished.find(*self.key_before)


def check_sources(sources: Sequence[UploadSource]) -> None:
    """Raise `UsageError` for an alias that two files share: which one is meant is not known."""
    seen: dict[str, Path] = {}
    for source in sources:
        name = normalize("NFC", source.alias)
        if name in seen:
            raise UsageError(
                f"{seen[name]} and {source.path} would both be called {source.alias!r} in the box.",
                hint="Give them different aliases, with a TSV file.",
            )
        seen[name] = source.path


def check_alias(source: UploadSource) -> None:
    """Raise `UsageError` for an alias that is not valid."""
    alias = source.alias
    if not alias.strip() or len(alias) > MAX_ALIAS or any(unicodedata.category(c) in ("Cc", "Cs") for c in alias):
        raise UsageError(
            f"{alias!r} is not a valid alias for {source.path}.",
            hint=f"An alias has 1 to {MAX_ALIAS} characters, none of them control characters; give one by --alias, or"
            " in a list (--tsv).",
        )


def open_source(path: Path) -> SourceFile:
    """Open a file to be sealed and sent. Blocks.

    Raises:
        UsageError: For an empty file (the contract has no room for one), one that is too large for an object and one
            that is encrypted already (it would be sealed twice).
        LocalError: If it cannot be read.
    """
    file = SourceFile.open(path)
    try:
        if file.state.size == 0:
            raise UsageError(f"{path} is empty.", hint="An archive accepts no empty files; leave it out.")
        check_object_size(file_size(file.state.size))
        head = bytearray(min(8, file.state.size))
        file.read_into(0, [memoryview(head)])
        if is_crypt4gh(bytes(head)):
            raise UsageError(
                f"{path} is encrypted with Crypt4GH already.",
                hint="Files are encrypted while they are uploaded: give the decrypted file (see connector decrypt).",
            )
    except BaseException:
        file.close()
        raise
    return file


SUFFIX = ".upload"


def lock_path(journal: Path) -> Path:
    """The lock file of the upload of `journal`."""
    return journal.with_name(journal.name + ".lock")


@attrs.frozen
class UploadJournals:
    """The journals, in one folder, of unfinished uploads into one box. Methods block: call them in threads."""

    folder: Path
    keys: KeyPair
    box: UUID

    def path(self, source: UploadSource) -> Path:
        """The path of the journal of this source."""
        path, before = self._path(source.key), self._path(source.key_before)
        return before if before != path and before.exists() and not path.exists() else path

    def _path(self, key: tuple[str, str]) -> Path:
        name = "\0".join([str(self.box), *key])
        return self.folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{SUFFIX}"

    def find(self, source: UploadSource, state: SourceState) -> UploadState | None:
        """The state of the upload of this source that an earlier run recorded, if any.

        `state`: of the source now. If the source has changed, that upload cannot be resumed.
        """
        journal = load(self.path(source))
        left = None if journal is None else fold(journal, self.keys.private)
        if journal is None or left is None or left.started is None:
            return left
        # Device and inode are left out: they differ between the machines that share a file system.
        if (journal.head.get("size"), journal.head.get("mtime_ns")) != (state.size, state.mtime_ns):
            return attrs.evolve(left, started=None, changed=True)
        return left

    def lock(self, source: UploadSource) -> LockFile:
        """Lock this upload; see `LockFile.take`."""
        with state_failures():
            with local_failures("write", self.folder):
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LockFile.take(lock_path(self.path(source)), source.alias)

    def announce(self, source: UploadSource, state: SourceState) -> None:
        """Record that an upload for this source, which is locked, is about to be announced."""
        facts = {"box": str(self.box), "alias": source.alias, "size": state.size}
        with state_failures():
            JournalFile.begin(self.path(source), ANNOUNCED_KIND, facts, lasting=False).close()

    def begin(
        self, source: UploadSource, state: SourceState, started: StartedUpload, sealed: SentPart | None
    ) -> JournalFile:
        """Start a journal for an upload that the archive has created.

        With `sealed`, its only part, the journal need not survive a power failure: one part is soon sent again.
        """
        facts = {
            "box": str(self.box),
            "alias": source.alias,
            "path": source.key[1],
            "size": state.size,
            "mtime_ns": state.mtime_ns,
            **head_facts(started, self.keys.public, sealed),
        }
        with state_failures():
            return JournalFile.begin(self.path(source), KIND, facts, lasting=sealed is None)

    def resume(self, source: UploadSource) -> JournalFile:
        """Add to the journal of an earlier run."""
        path = self.path(source)
        journal = load(path)
        assert journal is not None, "it was found before, while locked"
        return JournalFile.resume(path, journal)

    def remove(self, source: UploadSource) -> None:
        """Remove the journal of this source."""
        path = self.path(source)
        with local_failures("remove", path):
            path.unlink(missing_ok=True)


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
            UsageError: If the alias is not valid, or the file cannot be uploaded.
            LocalError: If the file cannot be read, or another process uploads it.
            LockedElsewhereError: If whether that process still runs is not visible from here.
        """
        check_alias(self.source)
        if self._file is None:
            self._file = open_source(self.source.path)
        if self._lock is None:
            self._lock = self._context.journals.lock(self.source)
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
