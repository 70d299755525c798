"""Removing uploads from a box, complete ones too: in the archive, and what this machine has noted of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs

from connector.clients.refusals import TokenRefusedError
from connector.clients.uploads import ListingRefusedError
from connector.errors import ConnectorError, RefusedError
from connector.local.finished import FinishedFiles
from connector.transfer import Outcome, RunContext
from connector.upload.box import UploadBox
from connector.upload.listing import UNKNOWN, ListedFile
from connector.upload.unfinished import UnfinishedUpload, unfinished_uploads
from connector.wire.payloads import FileUpload

T = TypeVar("T")


@attrs.frozen
class LocalNotes:
    """What this machine has noted of the uploads of one box: journals of unfinished ones, notes of finished ones.

    `keys`: those of `finished` by alias.
    """

    unfinished: Mapping[UUID, UnfinishedUpload]
    finished: FinishedFiles
    keys: Mapping[str, Sequence[tuple[str, ...]]]

    @classmethod
    def read(cls, box: UUID, journal_folder: Path, finished_folder: Path) -> LocalNotes:
        """Read the notes about `box`. Blocks."""
        finished = FinishedFiles.read(finished_folder, str(box))
        keys: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in finished.noted():
            keys[key[0]].append(key)
        uploads = unfinished_uploads(journal_folder)
        return cls({upload.file_id: upload for upload in uploads if upload.box == box}, finished, keys)

    def find(self, alias: str) -> list[ListedFile]:
        """All uploads of this alias that were ever begun here, in states that are not known: one of them may stand."""
        found = [upload.listed() for upload in self.unfinished.values() if upload.alias == alias]
        for key in self.keys.get(alias, ()):
            note = self.finished.find(*key)
            if note is not None:
                with suppress(ValueError):  # of another version
                    found.append(ListedFile.of_upload(FileUpload(UUID(note.origin), alias, UNKNOWN, note.size)))
        return found

    def forget(self, file_id: UUID, alias: str) -> None:
        """Drop what is noted of an upload. Blocks."""
        unfinished = self.unfinished.get(file_id)
        if unfinished is not None:
            unfinished.forget()
        for key in self.keys.get(alias, ()):
            note = self.finished.find(*key)
            if note is not None and note.origin == str(file_id):
                self.finished.forget(*key)


@attrs.frozen
class UploadRemover:
    """Finds uploads of `box` and removes them, one after the other: archives answer some of several deletions at once
    with 500."""

    box: UploadBox
    notes: LocalNotes
    run: RunContext

    async def find(self, aliases: Collection[str]) -> list[Outcome[ListedFile]]:
        """The uploads with these aliases, in their order: as the box lists them, or where the archive refuses to list
        it, as this machine has noted them (then there may be several of an alias, of which one stands at most)."""
        wanted = set(aliases)
        found: dict[str, list[ListedFile]] = {}
        refused: ListingRefusedError | None = None
        try:
            async for page in self.box.pages():
                for upload in page:
                    # An archive may list deleted uploads beside the one that has the alias now.
                    if upload.alias in wanted and (upload.alias not in found or upload.state != "cancelled"):
                        found[upload.alias] = [ListedFile.of_upload(upload)]
        except ListingRefusedError as error:
            refused = error
            found = {alias: self.notes.find(alias) for alias in wanted}
        outcomes: list[Outcome[ListedFile]] = []
        for alias in dict.fromkeys(aliases):
            outcomes += [Outcome(alias, upload) for upload in found.get(alias, ())]
            if not found.get(alias):
                outcomes.append(Outcome(alias, error=_missing(alias, refused)))
        return outcomes

    async def remove_all(self, uploads: Sequence[ListedFile]) -> list[Outcome[ListedFile]]:
        """Remove uploads; one that cannot be removed does not stop the others."""
        self.run.observer.planned([(upload.name, 0) for upload in uploads])  # files, of which no bytes are to move
        return [await self._outcome(upload) for upload in uploads]

    async def discard_all(self, unfinished: Sequence[UnfinishedUpload]) -> list[Outcome[ListedFile]]:
        """Remove unfinished uploads of this box; those of another one are left, as outcomes with an error."""
        left = [_of_another_box(upload) for upload in unfinished if upload.box != self.box.id]
        for outcome in left:
            self.run.observer.finished(outcome)
        return left + await self.remove_all([upload.listed() for upload in unfinished if upload.box == self.box.id])

    async def _outcome(self, upload: ListedFile) -> Outcome[ListedFile]:
        try:
            outcome = Outcome(upload.name, await self.remove(upload))
        except ConnectorError as error:
            outcome = Outcome(upload.name, error=error)
        self.run.observer.finished(outcome)
        return outcome

    async def remove(self, upload: ListedFile) -> ListedFile:
        """Delete one in the archive, then drop what is noted of it here.

        Raises:
            LocalError: While a process is sending it.
        """
        assert upload.file_id is not None, "every upload has an id"
        file_id, alias = upload.file_id, upload.name
        unfinished = self.notes.unfinished.get(file_id)
        claim = None if unfinished is None else await self._in_thread(unfinished.claim)
        try:
            if upload.state != "cancelled":
                await self.box.delete(file_id)
            await self._in_thread(lambda: self.notes.forget(file_id, alias))
        finally:
            if claim is not None:
                claim.release()
        return attrs.evolve(upload, state="cancelled", state_updated=None)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self.run.in_thread(work)


def _missing(alias: str, refused: ListingRefusedError | None) -> ConnectorError:
    if refused is None:
        return RefusedError(f"There is no upload {alias} in the box.", hint="See what there is: connector ls")
    return TokenRefusedError(
        f"{refused.message} This machine has noted no upload {alias}, so its id is not known.",
        hint="Remove it on the machine that uploaded it, or replace it: connector upload --overwrite PATH --alias NAME",
        status=refused.status,
    )


def _of_another_box(upload: UnfinishedUpload) -> Outcome[ListedFile]:
    error = RefusedError(
        f"{upload.alias} was being uploaded into another box, and is left.",
        hint="Use the access token that the upload was begun with.",
    )
    return Outcome(upload.alias, error=error)
