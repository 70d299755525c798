"""What an upload would do, found out without doing any of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from connector.crypt4gh.layout import HEADER_SIZE, fit_upload_part_size, sealed_size
from connector.errors import ConnectorError
from connector.local.finished import FinishedFiles
from connector.local.source_file import SourceState
from connector.parts import Parts, memory_budget
from connector.transfer import AlreadyThere, Outcome
from connector.upload.existing import OVERWRITABLE, REPLACEABLE, compare, in_the_way
from connector.upload.source import UploadSource, open_source
from connector.upload.states import UploadState
from connector.wire.payloads import FileUpload


@attrs.frozen
class PlannedUpload:
    """A file as it would be uploaded; sizes in bytes. `memory` is the budget that its upload would have;
    `already_there`: set where nothing would be sent, to what was compared.
    """

    alias: str
    size: int
    encrypted_size: int
    part_size: int
    parts: int
    memory: int
    already_there: AlreadyThere | None = None


@attrs.frozen
class UploadPlanner:
    """Checks sources against the disk, what the box `listed`, and what the `notes` of earlier runs tell.

    `left` tells what an earlier run has left of the upload of a source; it is resumed with the parts that it has.
    """

    listed: Mapping[str, FileUpload]
    notes: FinishedFiles
    left: Callable[[UploadSource, SourceState], UploadState | None]
    part_size: int
    memory: int
    overwrite: bool

    @classmethod
    def of(
        cls,
        listed: Sequence[FileUpload],
        notes: FinishedFiles,
        left: Callable[[UploadSource, SourceState], UploadState | None],
        *,
        part_size: int,
        memory: int,
        overwrite: bool,
    ) -> UploadPlanner:
        """A planner for a box that lists these uploads."""
        in_box = {upload.alias: upload for upload in listed if upload.state not in REPLACEABLE}
        return cls(in_box, notes, left, part_size, memory, overwrite)

    def plan(self, sources: Sequence[UploadSource]) -> list[Outcome[PlannedUpload]]:
        """Check each source. Blocks: call it in a thread."""
        return list(map(self._plan, sources))

    def _plan(self, source: UploadSource) -> Outcome[PlannedUpload]:
        try:
            file = open_source(source.path)
            file.close()
            size = file.state.size
            left = self.left(source, file.state)
            there = self._there(source, file.state, left)
            total = HEADER_SIZE + sealed_size(size)
            started = None if left is None else left.started
            fitted = started.part_size if started is not None else fit_upload_part_size(total, self.part_size)
            parts = Parts(total, fitted)
            needed = memory_budget(self.memory, parts[0].size)
            planned = PlannedUpload(source.alias, size, total, fitted, len(parts), needed, there)
            return Outcome(source.alias, planned)
        except ConnectorError as error:
            return Outcome(source.alias, error=error)

    def _there(self, source: UploadSource, state: SourceState, left: UploadState | None) -> AlreadyThere | None:
        """What was compared if the file is in the box; an error if another one is in the way there."""
        listed = self.listed.get(source.alias)
        if listed is None or (left is not None and listed.state == "init" and left.file_id in (listed.id, None)):
            return None
        replaced = self.overwrite and listed.state in OVERWRITABLE
        there = compare(listed, state, self.notes.find(*source.key))
        if there == "record":
            return there
        if not replaced and (there is None or self.overwrite):
            raise in_the_way(source.alias, state.size, listed, overwrite=self.overwrite)
        return None if replaced or there is None else "size"  # the content is not read to tell what would be
