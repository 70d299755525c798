"""The files of one upload command: which are in the box already, and which are to be sent."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from connector.clients.objects import ObjectClient
from connector.crypt4gh.keys import KeyPair
from connector.errors import ConnectorError
from connector.local.finished import FinishedFiles
from connector.local.source_file import SourceState
from connector.transfer import Observer, Outcome, Scheduler
from connector.upload.box import UploadBox
from connector.upload.existing import UploadedFile, uploaded_before
from connector.upload.job import Upload
from connector.upload.journals import UploadJournals
from connector.upload.source import UploadSource


@attrs.frozen(kw_only=True)
class UploadBatch:
    """Uploads into one box; ``notes`` tell what earlier runs finished there.

    With ``overwrite`` what is in the box is replaced, unless an earlier run of this machine sent it of the same source;
    with ``verify_existing`` the sources are read to compare their content.
    """

    box: UploadBox
    objects: ObjectClient
    keys: KeyPair
    hub_key: Callable[[str], Awaitable[bytes]]
    journals: UploadJournals
    notes: FinishedFiles
    part_size: int
    overwrite: bool
    verify_existing: bool
    scheduler: Scheduler
    threads: trio.CapacityLimiter
    observer: Observer

    async def run(self, sources: Sequence[UploadSource]) -> list[Outcome[UploadedFile]]:
        """Bring all files into the box. The outcomes come in the order of the sources."""
        done = [None] * len(sources) if self.verify_existing else await self._done_before(sources)
        moved = iter(
            await self.scheduler.run(
                self._upload(source) for source, outcome in zip(sources, done, strict=True) if outcome is None
            )
        )
        return [next(moved) if outcome is None else outcome for outcome in done]

    async def _done_before(self, sources: Sequence[UploadSource]) -> list[Outcome[UploadedFile] | None]:
        """The outcomes of files that an earlier run noted, unchanged since, and that the box lists: from one listing.

        All others are looked at one by one, as all are where the box cannot be listed.
        """
        states = await trio.to_thread.run_sync(
            lambda: [self._noted(source) for source in sources], limiter=self.threads
        )
        done: list[Outcome[UploadedFile] | None] = []
        unlisted = False
        for source, state in zip(sources, states, strict=True):
            file: UploadedFile | None = None
            if state is not None and not unlisted:
                try:
                    listed = await self.box.find(source.alias)
                except ConnectorError:
                    unlisted = True
                else:
                    file = uploaded_before(listed, state, self.notes.find(*source.key))
            done.append(None if file is None else self.scheduler.finished(Outcome(source.alias, value=file)))
        return done

    def _noted(self, source: UploadSource) -> SourceState | None:
        """The state of a source that was noted as finished, and of whose upload nothing else is left."""
        if self.notes.find(*source.key) is None or self.journals.path(self.box.id, source).exists():
            return None
        try:
            return SourceState.of(os.stat(source.path))
        except OSError:
            return None  # the upload will say what is wrong with it

    def _upload(self, source: UploadSource) -> Upload:
        return Upload(
            source,
            box=self.box,
            objects=self.objects,
            keys=self.keys,
            hub_key=self.hub_key,
            journals=self.journals,
            notes=self.notes,
            part_size=self.part_size,
            overwrite=self.overwrite,
            verify_existing=self.verify_existing,
            threads=self.threads,
            observer=self.observer,
        )
