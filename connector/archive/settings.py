"""The settings of an embedded archive, and its files below its root."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

Clock = Callable[[], float]
"""Returns the time in seconds since the UNIX epoch."""

DEFAULT_STORAGE_ALIAS = "embedded"


@attrs.frozen
class ArchiveSettings:
    """Settings of one archive. Durations are in seconds, sizes in bytes.

    Attributes:
        root: The archive's directory.
        storage_alias: The name of its data hub.
        work_order_lifetime: Of a work order token.
        url_lifetime: Of a presigned URL.
        package_lifetime: Of a work package from its grant.
        retry_after: What a client is told to wait while a file is staged; by the file's size if None.
        staging_delay: How long staging takes at least, to simulate an archive on tape.
        stage_lifetime: After how long without use a staged copy is removed.
        open_uploads: How many uploads of a box may be in `init` at once.
        manual_archival: Whether interrogated files are registered only when a steward archives their box.
        interrogation_memory: Buffers of all interrogations together. Only files beyond 1 TB need as much: their 10,000
            parts are that large.
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


def utc_now(clock: Clock = time.time) -> datetime:
    """The current time as documents store it: aware, UTC."""
    return datetime.fromtimestamp(clock(), UTC)
