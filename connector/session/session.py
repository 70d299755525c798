"""A session with an archive: the transfers of one work package.

Downloads and uploads are imported when they are first used, since the start is a good part of a short transfer.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize
from uuid import UUID

import attrs
import trio

from connector.clients.api_client import ApiClient
from connector.clients.objects import ObjectClient
from connector.clients.well_known import WellKnown
from connector.clients.work_packages import WorkPackageClient
from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.crypt4gh.segments import file_size
from connector.errors import LocalError, RefusedError, UsageError
from connector.local.files import planned_files
from connector.local.state_folder import FinishedFiles, StateFolder
from connector.transfer import Outcome, RunContext, Scheduler
from connector.wire.payloads import FileUpload, WorkPackage

if TYPE_CHECKING:
    from connector.clients.downloads import DownloadClient
    from connector.clients.uploads import UploadBox, UploadClient
    from connector.download import DownloadedFile
    from connector.upload import UploadedFile, UploadSource
    from connector.upload.listing import ListedFile, UnfinishedUpload
    from connector.upload.plan import PlannedUpload
    from connector.upload.removal import UploadRemover


@attrs.frozen
class Session:
    """Access to one work package of an archive, opened by `open_session`.

    After the end of that block, its methods raise `UsageError`.
    """

    settings: Settings
    keys: KeyPair
    well_known: WellKnown
    package: WorkPackage
    packages: WorkPackageClient
    api: ApiClient
    objects: ObjectClient
    downloads: DownloadClient | None
    uploads: UploadClient | None
    scheduler: Scheduler
    run: RunContext
    state: StateFolder

    async def download(
        self,
        accessions: str | Sequence[str] | None = None,
        *,
        output_dir: Path | str,
        decrypt: bool = False,
        overwrite: bool = False,
        verify: bool = True,
        verify_existing: bool = False,
    ) -> list[Outcome[DownloadedFile]]:
        """Download files of the package into `output_dir`: all of them without `accessions`, none if they are empty.

        With `verify` each segment and the sha256 of the plaintext are checked also when the files stay encrypted;
        decrypted ones are always checked. A file that exists already, with the right size, is not fetched:
        `already_there` of its result states what was compared, with `verify_existing` its content. For a file of
        another size the outcome is a `FileExistsAlready`, unless `overwrite` is given; then all files are replaced but
        those that an earlier run fetched and verified and that are unchanged since.

        The outcomes come in the order of the accessions; that of one which the package lacks is a `RefusedError`.

        Raises:
            RefusedError: If the package is not for downloads, or lacks all of the files.
            UsageError: If two files would have the same name in `output_dir`, before anything is fetched.
        """
        from connector.clients.downloads import DownloadClient
        from connector.download import DownloadContext, DownloadRequest, check_targets, download_all
        from connector.local.targets import OutputFolders

        _check_existing(overwrite, verify_existing)
        output_dir = Path(output_dir)
        accessions = [accessions] if isinstance(accessions, str) else accessions
        if not await trio.Path(output_dir).is_dir():
            raise LocalError(f"{output_dir} is not a folder.", hint="Make it first, or choose another --output-dir.")
        files = self._package_files()
        named = self._named(files, accessions)
        requests = [
            DownloadRequest(name, files[name], output_dir, decrypt, overwrite, verify)
            for name in named
            if name in files
        ]
        check_targets(requests)
        self.run.observer.planned([(name, None) for name in named])
        folder, outputs = Path(await trio.Path(output_dir).resolve()), OutputFolders(self.state.outputs)
        await self.run.in_thread(outputs.add, folder)
        context = DownloadContext(
            run=self.run,
            tokens=self.packages,
            downloads=self.downloads or DownloadClient(self.api, lambda: self.well_known.values.dcs_api_url),
            objects=self.objects,
            private_key=self.keys.private,
            # Two archives may have a file of the same accession.
            finished=await self._read_finished(f"{folder} {self.settings.wkvs_url}"),
        )
        lacking: list[Outcome[DownloadedFile]] = [
            self.scheduler.finished(Outcome(name, error=_not_included([name]))) for name in named if name not in files
        ]
        fetched = await download_all(requests, context, self.scheduler, verify_existing=verify_existing)
        await self.run.in_thread(outputs.forget_if_finished, folder)
        outcomes = {outcome.label: outcome for outcome in [*lacking, *fetched]}
        return [outcomes[name] for name in named]

    def _package_files(self) -> Mapping[str, str]:
        """The extensions of the package's files by accession; `RefusedError` if it is for uploads."""
        self.scheduler.check_open()
        files = self.package.files
        if self.package.type != "download" or files is None:
            raise RefusedError(
                "This work package is for uploads.",
                hint="Ask for one for downloads; this one is used with: connector upload",
            )
        return files

    @staticmethod
    def _named(files: Mapping[str, str], accessions: Sequence[str] | None) -> list[str]:
        """The accessions, each once and as the package spells it; `RefusedError` if it has none of them."""
        known = {normalize("NFC", accession): accession for accession in files}
        given = files if accessions is None else accessions
        named = [name if name in files else known.get(normalize("NFC", name), name) for name in given]
        if named and not any(name in files for name in named):
            raise _not_included(named)
        return list(dict.fromkeys(named))

    async def upload(
        self, sources: Sequence[UploadSource], *, overwrite: bool = False, verify_existing: bool = False
    ) -> list[Outcome[UploadedFile]]:
        """Encrypt and upload files into the package's box. The outcomes are in the order of the sources.

        A file that is in the box already, with the same size (and the same content, if an earlier run recorded it), is
        not sent: `already_there` of its result states what was compared. With `verify_existing` sources are read to
        compare their content with what earlier runs sent; for uploads without such a record only the size is compared.
        For any other upload with that alias the outcome is a `RefusedError`, unless `overwrite` is given; then all are
        replaced but those that an earlier run sent from the same source, unchanged since.

        Raises:
            UsageError: If two files would get the same alias, before anything is sent.
        """
        from connector.upload import UploadContext, UploadJournals, check_sources, upload_all

        _check_existing(overwrite, verify_existing)
        check_sources(sources)
        box = self.box()
        files = [(source.alias, source.path) for source in sources]
        self.run.observer.planned(await self.run.in_thread(planned_files, files, file_size))
        context = UploadContext(
            run=self.run,
            box=box,
            objects=self.objects,
            keys=self.keys,
            hub_key=self.well_known.hub_key,
            journals=UploadJournals(self.state.uploads, self.keys, box.id),
            finished=await self._read_finished(str(box.id)),
            overwrite=overwrite,
            verify_existing=verify_existing,
        )
        return await upload_all(sources, context, self.scheduler)

    async def plan_upload(
        self, sources: Sequence[UploadSource], *, overwrite: bool = False
    ) -> list[Outcome[PlannedUpload]]:
        """Plan what `upload` would do with these sources, without doing it."""
        from connector.upload import UploadJournals, check_sources
        from connector.upload.plan import UploadPlanner

        check_sources(sources)
        box = self.box()
        listed: dict[str, FileUpload | None] = {}
        with suppress(RefusedError):  # uploading needs no listing
            listed = {source.alias: await box.find(source.alias) for source in sources}
        part_size, memory = self.settings.part_size, self.settings.memory
        finished = await self._read_finished(str(box.id))
        left = UploadJournals(self.state.uploads, self.keys, box.id).find
        planner = UploadPlanner(listed, finished, left, part_size, memory, overwrite)
        outcomes = await self.run.in_thread(planner.plan, sources)
        for outcome in outcomes:
            if outcome.value is not None:
                self.scheduler.report_budget(outcome.label, outcome.value.memory)
        return outcomes

    async def list_files(self) -> AsyncIterator[ListedFile]:
        """The files of the package, sorted by alias or accession.

        Uploads are listed page by page, so that a box of any size takes little memory. Of a file to download, only what
        the package states is listed: a request for its size (its DRS object) would have the archive stage it.
        """
        from connector.upload.listing import ListedFile

        if self.package.type == "upload":
            async for page in self.box().pages():
                for upload in page:
                    yield ListedFile.of_upload(upload)
        else:
            from connector.download import DownloadRequest

            for accession, extension in sorted(self._package_files().items()):
                request = DownloadRequest(accession, extension, Path(), decrypt=False, overwrite=False)
                yield ListedFile("download", accession, request.target.name)

    async def find_uploads(self, aliases: str | Collection[str]) -> list[Outcome[ListedFile]]:
        """The uploads of the box with these aliases, to hand them to `remove`."""
        return await (await self._remover()).find([aliases] if isinstance(aliases, str) else aliases)

    async def remove(self, uploads: Sequence[ListedFile]) -> list[Outcome[ListedFile]]:
        """Remove uploads from the box, complete ones too, and drop this machine's records of them.

        The outcomes are in the order of the uploads; one that cannot be removed does not stop the others.
        """
        return await (await self._remover()).remove_all(uploads)

    async def discard_uploads(self, unfinished: Sequence[UnfinishedUpload]) -> list[Outcome[ListedFile]]:
        """Discard unfinished uploads: delete them in the archive, then remove their journals.

        The outcome of one in another box than this package's is an error; it is not changed.
        """
        return await (await self._remover(unfinished)).discard_all(unfinished)

    async def wait_for(self, uploads: Mapping[str, UUID], *, timeout: float = math.inf) -> list[Outcome[ListedFile]]:
        """Wait until the archive has checked uploads, or refused them; `uploads`: their ids by alias.

        The outcomes come in the order of the uploads: one that was refused fails with
        `IntegrityError`, one that is open after `timeout` seconds with
        `BrokenError`.

        Raises:
            RefusedError: Where the archive refuses to list the box.
        """
        from connector.upload.waiting import UploadWaiter

        waiter = UploadWaiter(box=self.box(), run=self.run)
        return await waiter.wait_for(uploads, timeout=timeout)

    async def open_in_box(self) -> list[FileUpload]:
        """The uploads that are open in the package's box, from any client.

        An archive allows only a few of them at a time, so an abandoned one blocks others.
        """
        return [upload async for page in self.box().pages() for upload in page if upload.state == "init"]

    async def _remover(self, unfinished: Sequence[UnfinishedUpload] | None = None) -> UploadRemover:
        from connector.upload.removal import LocalRecords, UploadRemover

        box = self.box()
        read = partial(LocalRecords.read, box.id, self.state.uploads, self.state.finished, unfinished)
        return UploadRemover(box, await self.run.in_thread(read), self.run)

    async def _read_finished(self, about: str) -> FinishedFiles:
        """The records of what earlier runs finished in an output folder or an upload box."""
        return await self.run.in_thread(FinishedFiles.read, self.state.finished, about)

    def box(self) -> UploadBox:
        """The package's upload box; `RefusedError` if it has none."""
        from connector.clients.uploads import UploadBox, UploadClient

        self.scheduler.check_open()
        package = self.package
        if package.type != "upload" or not package.research_data_upload_box_id or not package.file_upload_box_id:
            raise RefusedError(
                "This work package is for downloads.",
                hint="Ask for one for uploads; this one is used with: connector download",
            )
        uploads = self.uploads or UploadClient(
            self.api, lambda: self.well_known.values.ucs_api_url, package.file_upload_box_id
        )
        return UploadBox(self.packages, uploads, package.research_data_upload_box_id)


def _not_included(accessions: Sequence[str]) -> RefusedError:
    return RefusedError(
        f"The work package does not include {', '.join(accessions)}.",
        hint="Check the accessions, or ask for a package that includes them.",
    )


def _check_existing(overwrite: bool, verify_existing: bool) -> None:
    if overwrite and verify_existing:
        raise UsageError("Files are either replaced or verified.", hint="Give overwrite or verify_existing.")
