"""The files of one upload command: which are in the box already, and which are sent."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from connector.errors import ConnectorError
from connector.local.source_file import SourceState
from connector.transfer import Outcome, Scheduler
from connector.upload.context import UploadContext
from connector.upload.existing import UploadedFile, uploaded_before
from connector.upload.job import Upload
from connector.upload.source import UploadSource


@attrs.frozen
class UploadBatch:
    """The uploads of one command into one box."""

    context: UploadContext
    scheduler: Scheduler

    async def run(self, sources: Sequence[UploadSource]) -> list[Outcome[UploadedFile]]:
        """Upload all files. The outcomes are in the order of the sources."""
        done = [None] * len(sources) if self.context.verify_existing else await self._done_before(sources)
        moved = iter(
            await self.scheduler.run(
                Upload(source, self.context) for source, outcome in zip(sources, done, strict=True) if outcome is None
            )
        )
        return [next(moved) if outcome is None else outcome for outcome in done]

    async def _done_before(self, sources: Sequence[UploadSource]) -> list[Outcome[UploadedFile] | None]:
        """The outcomes of files that an earlier run recorded, unchanged since, and that one listing of the box has.

        `None` for all others, and for all if the box cannot be listed.
        """
        states = await self.context.run.in_thread(lambda: [self._recorded(source) for source in sources])
        done: list[Outcome[UploadedFile] | None] = []
        unlisted = False
        for source, state in zip(sources, states, strict=True):
            file: UploadedFile | None = None
            if state is not None and not unlisted:
                try:
                    listed = await self.context.box.find(source.alias)
                except ConnectorError:
                    unlisted = True
                else:
                    file = uploaded_before(listed, state, self.context.finished.find(*source.key))
            done.append(None if file is None else self.scheduler.finished(Outcome(source.alias, value=file)))
        return done

    def _recorded(self, source: UploadSource) -> SourceState | None:
        """The state of a source that was recorded as finished, and whose upload has no journal."""
        if (
            self.context.finished.find(*source.key) is None
            or self.context.journals.path(self.context.box.id, source).exists()
        ):
            return None
        try:
            return SourceState.of(os.stat(source.path))
        except OSError:
            return None  # the upload will report what is wrong with it
