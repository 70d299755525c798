"""What an interrupted upload leaves behind, so that the next run goes on at the first missing part.

The journal holds the file's secrets sealed to the user's own Crypt4GH key: whoever reads it learns what was uploaded
under which digests, but can neither decrypt nor forge a part.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from connector.core.checksums import PartDigests
from connector.core.journal import Journal
from connector.core.payloads import FileUpload
from connector.core.sealed_box import open_text, seal_text
from connector.errors import ConnectorError
from connector.local.claim import Claim
from connector.local.failures import local_failures
from connector.local.journal_file import JournalFile, load
from connector.local.key_files import KeyPair
from connector.local.source_file import SourceState
from connector.upload.source import UploadSource

KIND = "upload"
ANNOUNCED = "upload-announced"
"""Kind of the journal that is written before the archive is asked to create an upload: should the answer never be
heard, it tells whose upload that is which holds the alias."""
RECEIVED = frozenset({"inbox", "interrogated", "awaiting_archival", "archived"})
"""States of an upload whose completion the archive has heard, though maybe not we its answer."""
WORTHLESS = frozenset(
    {"checksumMismatch", "uploadSizeMismatch", "invalidPartSize", "fileUploadNotFound", "s3UploadNotFound"}
)
"""What an archive says of an upload that no new try can complete."""
SUFFIX = ".upload"


def claim_path(journal: Path) -> Path:
    """The claim that says a process works on the upload of ``journal``."""
    return journal.with_name(journal.name + ".lock")


@attrs.frozen
class UploadSecrets:
    """What a file is sealed with: its session key, and the seed of the nonces at part borders (32 bytes each)."""

    session_key: bytes = attrs.field(repr=False)
    nonce_seed: bytes = attrs.field(repr=False)


@attrs.frozen
class StartedUpload:
    """An upload that the archive knows: all that is needed to go on with it."""

    file_id: UUID
    part_size: int
    envelope: bytes
    secrets: UploadSecrets


@attrs.frozen
class EarlierUpload:
    """An upload that an earlier run has started, and the digests of the parts that it has stored.

    ``sealed``: those of the one part of a small file, of which it is not known whether it was stored.
    """

    started: StartedUpload
    parts: Mapping[int, PartDigests]
    sealed: PartDigests | None
    journal: Journal = attrs.field(repr=False)

    def at(self, state: str, parts: int) -> EarlierUpload | None:
        """What of it can be gone on with in this state; once received, what is left is to hear that it was."""
        if state == "init":
            return self
        if state not in RECEIVED:
            return None
        stored = self.parts or ({1: self.sealed} if self.sealed is not None else {})
        return attrs.evolve(self, parts=stored) if len(stored) == parts else None


@attrs.frozen
class LeftUpload:
    """What an earlier run has left of an upload. ``earlier``: all of it, if it is about the file as it is now."""

    head: Mapping[str, Any] = attrs.field(repr=False)
    earlier: EarlierUpload | None

    def is_it(self, upload: FileUpload) -> bool:
        """Whether this one of the box is it: by its id, or as much as was announced if that was never heard."""
        if self.head.get("kind") == KIND:
            return str(upload.id) == self.head.get("file_id")
        announced = upload.decrypted_size in (None, self.head.get("size"))
        return announced and upload.alias == self.head.get("alias") and upload.state == "init"


@attrs.frozen
class UploadJournals:
    """The journals of unfinished uploads in one folder. Methods block: call them in threads."""

    folder: Path
    keys: KeyPair

    def path(self, box: UUID, source: UploadSource) -> Path:
        """Where the journal of this source in this box is."""
        name = "\0".join([str(box), source.alias, str(source.path.absolute())])
        return self.folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{SUFFIX}"

    def find(self, box: UUID, source: UploadSource, state: SourceState) -> LeftUpload | None:
        """What an earlier run has left of the upload of this source, if anything; ``state``: of the file now."""
        journal = load(self.path(box, source))
        if journal is None or journal.head.get("kind") not in (KIND, ANNOUNCED):
            return None
        earlier: EarlierUpload | None = None
        if _about(journal.head, state):
            try:
                started = _read_started(journal.head, self.keys.private)
                earlier = EarlierUpload(started, _read_parts(journal), _read_sealed(journal), journal)
            except (ConnectorError, KeyError, TypeError, ValueError, AttributeError):
                pass  # tampered with, or for another key of ours
        return LeftUpload(journal.head, earlier)

    def announce(self, box: UUID, source: UploadSource, state: SourceState) -> None:
        """Note that the archive is about to be asked to create an upload for this source, which is claimed by now."""
        facts = {"box": str(box), "alias": source.alias, "size": state.size}
        JournalFile.begin(self.path(box, source), ANNOUNCED, facts, lasting=False).close()

    def forget(self, box: UUID, source: UploadSource) -> None:
        """Nothing is left of the upload of this source."""
        path = self.path(box, source)
        with local_failures("remove", path):
            path.unlink(missing_ok=True)

    def claim(self, box: UUID, source: UploadSource) -> Claim:
        """Keep other processes off this upload; see :meth:`~connector.local.claim.Claim.take_or_postpone`."""
        with local_failures("write", self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Claim.take_or_postpone(claim_path(self.path(box, source)), source.alias)

    def begin(
        self, box: UUID, source: UploadSource, state: SourceState, started: StartedUpload, sealed: PartDigests | None
    ) -> JournalFile:
        """Start a journal for an upload that the archive has just created.

        Given the digests of its only part, it need not outlive a power cut: that one is soon done again.
        """
        secrets = {
            "session_key": _encode(started.secrets.session_key),
            "nonce_seed": _encode(started.secrets.nonce_seed),
        }
        facts: dict[str, Any] = {
            "box": str(box),
            "alias": source.alias,
            "path": str(source.path.absolute()),
            "size": state.size,
            "mtime_ns": state.mtime_ns,
            "file_id": str(started.file_id),
            "part_size": started.part_size,
            "envelope": _encode(started.envelope),
            "secrets": seal_text(json.dumps(secrets), self.keys.public),
        }
        if sealed is not None:
            facts["sealed"] = part_facts(sealed)
        return JournalFile.begin(self.path(box, source), KIND, facts, lasting=sealed is None)

    def resume(self, box: UUID, source: UploadSource, earlier: EarlierUpload) -> JournalFile:
        """Go on with the journal of an earlier run."""
        return JournalFile.resume(self.path(box, source), earlier.journal)


def part_facts(digests: PartDigests) -> dict[str, str]:
    """What the journal says of a stored part."""
    return {"md5": digests.md5, "sha256": digests.sha256}


def _about(head: Mapping[str, Any], state: SourceState) -> bool:
    # Device and inode are left out: they differ between the machines that share a file system.
    return head.get("kind") == KIND and (head.get("size"), head.get("mtime_ns")) == (state.size, state.mtime_ns)


def _read_started(head: Mapping[str, Any], private_key: bytes) -> StartedUpload:
    secrets = json.loads(open_text(head["secrets"], private_key))
    return StartedUpload(
        UUID(head["file_id"]),
        int(head["part_size"]),
        base64.b64decode(head["envelope"]),
        UploadSecrets(base64.b64decode(secrets["session_key"]), base64.b64decode(secrets["nonce_seed"])),
    )


def _read_parts(journal: Journal) -> dict[int, PartDigests]:
    return {number: _digests(facts) for number, facts in journal.parts.items()}


def _read_sealed(journal: Journal) -> PartDigests | None:
    facts = journal.head.get("sealed")
    return None if facts is None else _digests(facts)


def _digests(facts: Mapping[str, Any]) -> PartDigests:
    return PartDigests(facts["md5"], facts["sha256"])


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
