"""The settings of an archive: lifetimes, limits and policies."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from attrs import validators

Clock = Callable[[], float]
"""Returns the time in seconds since the UNIX epoch."""


LONGEST = 100 * 365 * 24 * 3600
"""Seconds of a duration at most: what ends later has no date."""
_LONGEST_URL = 7 * 24 * 3600
"""Seconds for which S3 accepts a presigned URL at most."""


def _between(least: float, most: float) -> Any:
    return validators.and_(validators.ge(least), validators.le(most))


@attrs.frozen(kw_only=True)
class ArchiveSettings:
    """Settings of one archive. Durations are in seconds, sizes in bytes.

    Each field is a key of the configuration file and has an environment variable (`connector.archive.config_file`).

    Attributes:
        work_order_lifetime: Of a work order token.
        token_leeway: For which a token is accepted after its end, since the clocks of hosts differ.
        url_lifetime: Of a presigned URL.
        package_lifetime: Of a work package from its grant.
        retry_after: What a client is told to wait while a file is staged; by the file's size if None.
        staging_delay: How long staging takes at least, to simulate an archive on tape.
        stage_lifetime: After how long without use a staged copy is removed.
        open_uploads: How many uploads of a box may be in `init` at once.
        upload_lifetime: After how long an upload that was not completed is given up.
        manual_archival: Whether interrogated files are registered only when a steward archives their box.
        interrogation_memory: Buffers of all interrogations together. Only files beyond 1 TB need as much: their 10,000
            parts are that large.
        job_lease: For how long a worker has a job without extending that: so long a job waits after a worker has died.
    """

    work_order_lifetime: int = attrs.field(default=30, validator=_between(1, LONGEST))
    token_leeway: int = attrs.field(default=10, validator=_between(0, LONGEST))
    url_lifetime: int = attrs.field(default=60, validator=_between(1, _LONGEST_URL))
    package_lifetime: int = attrs.field(default=30 * 24 * 3600, validator=_between(1, LONGEST))
    retry_after: int | None = attrs.field(default=None, validator=validators.optional(_between(1, LONGEST)))
    staging_delay: float = attrs.field(default=0.0, validator=_between(0, LONGEST))
    stage_lifetime: float = attrs.field(default=7 * 24 * 3600.0, validator=_between(0, LONGEST))
    open_uploads: int = attrs.field(default=5, validator=validators.ge(1))
    upload_lifetime: int = attrs.field(default=72 * 3600, validator=_between(1, LONGEST))
    manual_archival: bool = False
    interrogation_memory: int = attrs.field(default=256 * 1024**2, validator=validators.ge(1024**2))
    job_lease: float = attrs.field(default=30.0, validator=_between(1, LONGEST))


def utc_now(clock: Clock = time.time) -> datetime:
    """The current time as documents store it: aware, UTC."""
    return datetime.fromtimestamp(clock(), UTC)
