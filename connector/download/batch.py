"""The files of one download command: which exist already, which are to be verified, and which to be fetched."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from connector.download.existing import finished_before, target_exists
from connector.download.job import Download
from connector.download.request import DownloadContext, DownloadedFile, DownloadRequest
from connector.transfer import Outcome, Scheduler


@attrs.frozen
class DownloadBatch:
    """The downloads of one command into one folder."""

    context: DownloadContext
    scheduler: Scheduler

    async def run(self, requests: Sequence[DownloadRequest], *, verify_existing: bool) -> list[Outcome[DownloadedFile]]:
        """Download all files. The outcomes are in the order of the requests."""
        if verify_existing:
            from connector.download.verification import Verification

            existing = await self.context.run.in_thread(lambda: list(map(target_exists, requests)))
            return await self.scheduler.run(
                Verification(request, self.context) if found else Download(request, self.context)
                for request, found in zip(requests, existing, strict=True)
            )
        before = await self.context.run.in_thread(
            lambda: [finished_before(request, self.context.finished) for request in requests]
        )
        done: list[Outcome[DownloadedFile] | None] = []
        for file in before:
            done.append(None if file is None else self.scheduler.finished(Outcome(file.accession, value=file)))
            await trio.lowlevel.checkpoint()
        moved = iter(
            await self.scheduler.run(
                Download(request, self.context)
                for request, outcome in zip(requests, done, strict=True)
                if outcome is None
            )
        )
        return [next(moved) if outcome is None else outcome for outcome in done]
