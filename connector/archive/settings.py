"""What can be set about an embedded archive, and where its things lie under its root."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

Clock = Callable[[], float]
"""Tells the time in seconds since the UNIX epoch; tests pass their own."""

INBOX_BUCKET = "inbox"
PERMANENT_BUCKET = "permanent"
DOWNLOAD_BUCKET = "download"
BUCKETS = (INBOX_BUCKET, PERMANENT_BUCKET, DOWNLOAD_BUCKET)

DEFAULT_STORAGE_ALIAS = "embedded"


@attrs.frozen
class ArchiveSettings:
    """Settings of one archive. Durations are in seconds, sizes in bytes.

    ``work_order_lifetime``: of a work order token. ``url_lifetime``: of a presigned URL. ``package_lifetime``: of a
    work package from its grant. ``retry_after``: what a client is told to wait while a file is staged,
    by the file's size if None.
    ``staging_delay``: how long staging takes at least, to play an archive on tape. ``open_uploads``: how many uploads
    of a box may be in ``init`` at once. ``manual_archival``: files that were interrogated are registered only when a
    steward archives their box. ``stage_lifetime``: after how long unused a staged copy is removed.
    ``interrogation_memory``: bytes of buffers that all interrogations together may use; it is reached only by files
    beyond 1 TB, whose 10,000 parts are that large.
    """

    root: Path
    storage_alias: str = DEFAULT_STORAGE_ALIAS
    work_order_lifetime: int = 30
    url_lifetime: int = 60
    package_lifetime: int = 30 * 24 * 3600
    retry_after: int | None = None
    staging_delay: float = 0.0
    stage_lifetime: float = 7 * 24 * 3600
    open_uploads: int = 5
    manual_archival: bool = False
    interrogation_memory: int = 256 * 1024**2

    @property
    def database_path(self) -> Path:
        """The SQLite file of all metadata."""
        return self.root / "archive.sqlite"

    @property
    def objects_path(self) -> Path:
        """The directory of all buckets."""
        return self.root / "objects"

    @property
    def keys_path(self) -> Path:
        """The directory of the archive's secrets."""
        return self.root / "keys"


def moment(clock: Clock = time.time) -> datetime:
    """The current time as a document stores it: aware, UTC."""
    return datetime.fromtimestamp(clock(), UTC)
