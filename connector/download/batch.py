"""The files of one download command: which are there already, which are to be verified, and which to be fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import trio

from connector.clients.downloads import DownloadClient
from connector.clients.objects import ObjectClient
from connector.clients.work_packages import WorkPackageClient
from connector.download.existing import finished_before, is_there
from connector.download.job import Download
from connector.download.request import DownloadedFile, DownloadRequest
from connector.download.verification import Verification
from connector.local.finished import FinishedFiles
from connector.transfer import Observer, Outcome, Scheduler, Transfer


@attrs.frozen
class DownloadBatch:
    """Downloads into one folder; ``notes`` tell what earlier runs finished there, ``uniform`` draws from [0, 1)."""

    packages: WorkPackageClient
    downloads: DownloadClient
    objects: ObjectClient
    private_key: bytes = attrs.field(repr=False)
    notes: FinishedFiles
    part_size: int
    scheduler: Scheduler
    threads: trio.CapacityLimiter
    observer: Observer
    uniform: Callable[[], float]

    async def run(self, requests: Sequence[DownloadRequest], *, verify_existing: bool) -> list[Outcome[DownloadedFile]]:
        """Bring all files here. The outcomes come in the order of the requests."""
        if verify_existing:
            there = await trio.to_thread.run_sync(lambda: list(map(is_there, requests)), limiter=self.threads)
            return await self.scheduler.run(
                self._verification(request) if found else self._download(request)
                for request, found in zip(requests, there, strict=True)
            )
        before = await trio.to_thread.run_sync(
            lambda: [finished_before(request, self.notes) for request in requests], limiter=self.threads
        )
        done: list[Outcome[DownloadedFile] | None] = []
        for file in before:
            done.append(None if file is None else self.scheduler.finished(Outcome(file.accession, value=file)))
            await trio.lowlevel.checkpoint()
        moved = iter(
            await self.scheduler.run(
                self._download(request) for request, outcome in zip(requests, done, strict=True) if outcome is None
            )
        )
        return [next(moved) if outcome is None else outcome for outcome in done]

    def _download(self, request: DownloadRequest) -> Transfer[DownloadedFile]:
        return Download(
            request,
            order=self.packages.download_order(request.accession),
            downloads=self.downloads,
            objects=self.objects,
            private_key=self.private_key,
            notes=self.notes,
            part_size=self.part_size,
            threads=self.threads,
            observer=self.observer,
            uniform=self.uniform,
        )

    def _verification(self, request: DownloadRequest) -> Transfer[DownloadedFile]:
        return Verification(
            request,
            order=self.packages.download_order(request.accession),
            downloads=self.downloads,
            private_key=self.private_key,
            notes=self.notes,
            part_size=self.part_size,
            threads=self.threads,
            observer=self.observer,
            uniform=self.uniform,
        )
