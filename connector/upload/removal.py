"""Removes uploads from a box, complete ones too: in the archive, and this machine's records of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize
from uuid import UUID

import attrs

from connector.clients.api_transport import TokenRefusedError
from connector.clients.uploads import ListingRefusedError, UploadBox
from connector.errors import ConnectorError, RefusedError
from connector.local.state_folder import FinishedFiles
from connector.transfer import Outcome, RunContext
from connector.upload.listing import UNKNOWN, ListedFile, UnfinishedUpload, unfinished_uploads
from connector.wire.payloads import FileUpload


@attrs.frozen
class LocalRecords:
    """This machine's records of the uploads of one box: journals of unfinished ones, records of finished ones.

    `keys`: the keys of `finished` by alias.
    """

    unfinished: Mapping[UUID, UnfinishedUpload]
    finished: FinishedFiles
    keys: Mapping[str, Sequence[tuple[str, ...]]]

    @classmethod
    def read(
        cls,
        box: UUID,
        journal_folder: Path,
        finished_folder: Path,
        unfinished: Sequence[UnfinishedUpload] | None = None,
    ) -> LocalRecords:
        """Read the records about `box`; of the unfinished uploads only if they are not given. Blocks."""
        finished = FinishedFiles.read(finished_folder, str(box))
        keys: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in finished.all_keys():
            keys[key[0]].append(key)
        uploads = unfinished_uploads(journal_folder) if unfinished is None else unfinished
        return cls({upload.file_id: upload for upload in uploads if upload.box == box}, finished, keys)

    def find(self, alias: str) -> list[ListedFile]:
        """All uploads of this alias that were ever started here, in an unknown state: one of them may be in the box."""
        found = [upload.listed() for upload in self.unfinished.values() if upload.alias == alias]
        for key in self.keys.get(alias, ()):
            record = self.finished.find(*key)
            if record is not None:
                with suppress(ValueError):  # of another version
                    found.append(ListedFile.of_upload(FileUpload(UUID(record.origin), alias, UNKNOWN, record.size)))
        return found

    def forget(self, file_id: UUID, alias: str) -> None:
        """Drop the records of an upload. Blocks."""
        unfinished = self.unfinished.get(file_id)
        if unfinished is not None:
            unfinished.forget()
        for key in self.keys.get(alias, ()):
            record = self.finished.find(*key)
            if record is not None and record.origin == str(file_id):
                self.finished.forget(*key)


@attrs.frozen
class UploadRemover:
    """Finds uploads of `box` and removes them one by one: archives answer some of several concurrent deletions with
    500."""

    box: UploadBox
    records: LocalRecords
    run: RunContext

    async def find(self, aliases: Collection[str]) -> list[Outcome[ListedFile]]:
        """The uploads with these aliases, in their order: as the box lists them, or if the archive refuses to list it,
        by this machine's records (which may have several of an alias, of which at most one is in the box)."""
        wanted = {*aliases, *(normalize("NFC", alias) for alias in aliases)}
        found: dict[str, list[ListedFile]] = {}
        similar: dict[str, list[ListedFile]] = {}  # by another Unicode form of their alias
        refused: ListingRefusedError | None = None
        try:
            async for page in self.box.pages():
                for upload in page:
                    for alias, uploads in ((upload.alias, found), (normalize("NFC", upload.alias), similar)):
                        # An archive may list deleted uploads beside the one that has the alias now.
                        if alias in wanted and (alias not in uploads or upload.state != "cancelled"):
                            uploads[alias] = [ListedFile.of_upload(upload)]
        except ListingRefusedError as error:
            refused = error
            found = {alias: self.records.find(alias) for alias in aliases}
        outcomes: list[Outcome[ListedFile]] = []
        for alias in dict.fromkeys(aliases):
            named = found.get(alias) or similar.get(normalize("NFC", alias), [])
            outcomes += [Outcome(alias, upload) for upload in named]
            if not named:
                outcomes.append(Outcome(alias, error=_missing(alias, refused)))
        return outcomes

    async def remove_all(self, uploads: Sequence[ListedFile]) -> list[Outcome[ListedFile]]:
        """Remove uploads; one that cannot be removed does not stop the others."""
        self.run.observer.planned([(upload.name, 0) for upload in uploads])  # files, of which no bytes are to move
        return [await self._outcome(upload) for upload in uploads]

    async def discard_all(self, unfinished: Sequence[UnfinishedUpload]) -> list[Outcome[ListedFile]]:
        """Remove unfinished uploads of this box; the outcome of one of another box is an error."""
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
        """Delete one in the archive, then drop the records of it here.

        Raises:
            LocalError: While a process is sending it.
        """
        assert upload.file_id is not None, "every upload has an id"
        file_id, alias = upload.file_id, upload.name
        unfinished = self.records.unfinished.get(file_id)
        lock_file = None if unfinished is None else await self.run.in_thread(unfinished.lock)
        try:
            if upload.state != "cancelled":
                await self.box.delete(file_id)
            await self.run.in_thread(self.records.forget, file_id, alias)
        finally:
            if lock_file is not None:
                lock_file.release()
        return attrs.evolve(upload, state="cancelled", state_updated=None)


def _missing(alias: str, refused: ListingRefusedError | None) -> ConnectorError:
    if refused is None:
        return RefusedError(f"There is no upload {alias} in the box.", hint="See what there is: connector ls")
    return TokenRefusedError(
        f"{refused.message} This machine has no record of an upload {alias}, so its id is not known.",
        hint="Remove it on the machine that uploaded it, or replace it: connector upload --overwrite PATH --alias NAME",
        status=refused.status,
    )


def _of_another_box(upload: UnfinishedUpload) -> Outcome[ListedFile]:
    error = RefusedError(
        f"{upload.alias} was being uploaded into another box, and was not changed.",
        hint="Use the access token that the upload was started with.",
    )
    return Outcome(upload.alias, error=error)
