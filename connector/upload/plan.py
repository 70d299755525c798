"""Plans uploads without sending anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from connector.crypt4gh.segments import file_size, fit_upload_part_size
from connector.errors import ConnectorError
from connector.local.files import SourceState
from connector.local.state_folder import FinishedFiles
from connector.parts import Parts, memory_budget
from connector.transfer import AlreadyThere, Outcome
from connector.upload.existing import OVERWRITABLE, alias_taken, compare
from connector.upload.journals import UploadSource, check_alias, open_source
from connector.upload.states import UploadState
from connector.wire.payloads import FileUpload


@attrs.frozen
class PlannedUpload:
    """A file as it would be uploaded; sizes in bytes. `memory`: the budget that its upload would have;
    `already_there`: what was compared if nothing would be sent.
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
    """Checks sources against the disk, the uploads that the box lists, and the records of earlier runs.

    `listed` has the uploads in the box by their aliases; `earlier` returns the state of a source's upload that an
    earlier run recorded, which would be resumed.
    """

    listed: Mapping[str, FileUpload | None]
    finished: FinishedFiles
    earlier: Callable[[UploadSource, SourceState], UploadState | None]
    part_size: int
    memory: int
    overwrite: bool

    def plan(self, sources: Sequence[UploadSource]) -> list[Outcome[PlannedUpload]]:
        """Check each source. Blocks: call it in a thread."""
        return list(map(self._plan, sources))

    def _plan(self, source: UploadSource) -> Outcome[PlannedUpload]:
        try:
            check_alias(source)
            file = open_source(source.path)
            file.close()
            size = file.state.size
            earlier = self.earlier(source, file.state)
            compared = self._compared(source, file.state, earlier)
            total = file_size(size)
            started = None if earlier is None else earlier.started
            fitted = started.part_size if started is not None else fit_upload_part_size(total, self.part_size)
            parts = Parts(total, fitted)
            needed = memory_budget(self.memory, parts[0].size)
            planned = PlannedUpload(source.alias, size, total, fitted, len(parts), needed, compared)
            return Outcome(source.alias, planned)
        except ConnectorError as error:
            return Outcome(source.alias, error=error)

    def _compared(self, source: UploadSource, state: SourceState, earlier: UploadState | None) -> AlreadyThere | None:
        """What was compared if the file is in the box; an error if the alias is taken by another one."""
        listed = self.listed.get(source.alias)
        if listed is None or (earlier is not None and listed.state == "init" and earlier.file_id in (listed.id, None)):
            return None
        replaced = self.overwrite and listed.state in OVERWRITABLE
        compared = compare(listed, state, source.record(self.finished))
        if compared == "record":
            return compared
        if not replaced and (compared is None or self.overwrite):
            raise alias_taken(source.alias, state.size, listed, overwrite=self.overwrite)
        return None if replaced or compared is None else "size"  # a plan does not read the content
