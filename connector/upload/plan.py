"""What an upload would do, found out without doing any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from connector.core.layout import ENVELOPE_SIZE, Parts, fit_memory, fit_upload_part_size, sealed_size
from connector.core.payloads import FileUpload
from connector.errors import ConnectorError, RefusedError
from connector.transfer import Outcome
from connector.upload.source import UploadSource, open_source

REPLACEABLE = frozenset({"failed", "cancelled"})
OVERWRITABLE = frozenset({"init", "inbox"})
COMPLETE = frozenset({"inbox", "interrogated", "awaiting_archival", "archived"})
"""States of an upload that was closed and did not fail."""


@attrs.frozen
class PlannedUpload:
    """A file as it would be uploaded; sizes in bytes. ``memory`` is the budget that its upload would have."""

    alias: str
    size: int
    encrypted_size: int
    part_size: int
    parts: int
    memory: int


def plan_uploads(
    sources: Sequence[UploadSource], listed: Sequence[FileUpload], *, part_size: int, memory: int, overwrite: bool
) -> list[Outcome[PlannedUpload]]:
    """Check each source against the disk and what the box lists. Blocks: call it in a thread."""
    in_box = {upload.alias: upload for upload in listed if upload.state not in REPLACEABLE}
    return [_plan(source, in_box, part_size, memory, overwrite) for source in sources]


def _plan(
    source: UploadSource, in_box: Mapping[str, FileUpload], part_size: int, memory: int, overwrite: bool
) -> Outcome[PlannedUpload]:
    try:
        file = open_source(source.path)
        file.close()
        there = in_box.get(source.alias)
        if there is not None and not (overwrite and there.state in OVERWRITABLE):
            raise RefusedError(
                f"{source.alias} is in the box already ({there.state}).",
                hint="Choose another --alias." if overwrite else "Give --overwrite to replace it, or another --alias.",
            )
        total = ENVELOPE_SIZE + sealed_size(file.state.size)
        fitted = fit_upload_part_size(total, part_size)
        parts = Parts(total, fitted)
        needed = fit_memory(memory, parts[0].size)
        return Outcome(source.alias, PlannedUpload(source.alias, file.state.size, total, fitted, len(parts), needed))
    except ConnectorError as error:
        return Outcome(source.alias, error=error)
