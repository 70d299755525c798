"""How the faults of an archive are mended where that is safe."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import attrs

from connector.archive.inventory import Place
from connector.archive.models import FileUpload, JobKind


@attrs.frozen
class Delete:
    """Delete an object, or abort a multipart upload."""

    place: Place


@attrs.frozen
class DeleteContent:
    """Delete a content file of a directory that belongs to no object."""

    path: Path


@attrs.frozen
class DeleteSecret:
    """Delete a secret that belongs to no file."""

    secret_id: str


@attrs.frozen
class Schedule:
    """Write the job that is missing, due at once or at a time."""

    job: JobKind
    hub: str
    due: datetime | None = None


@attrs.frozen
class FailUpload:
    """Let an upload fail whose content is lost."""

    upload: FileUpload


@attrs.frozen
class ForgetCopy:
    """Take the staged copy that the storage has lost out of the document; it is made again on demand."""

    accession: str
    staged_id: str


@attrs.frozen
class Recount:
    """Count the uploads of a box again."""


@attrs.frozen
class Reseal:
    """Seal a secret under the current master key."""


Repair = Delete | DeleteContent | DeleteSecret | Schedule | FailUpload | ForgetCopy | Recount | Reseal
