"""A worker of an archive on MongoDB and a directory of objects, as a process: to be stopped, killed and misled.

python -m tests.support.archive_worker URI DATABASE ROOT LEASE

As long as there is a file `hold` below ROOT, it does not commit interrogations that it has done.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import ArchiveConfig, FilesystemBuckets, HubConfig, MongodbDocuments
from connector.archive.jobs import Change, Next
from connector.archive.settings import ArchiveSettings
from connector.archive.worker import Lease, Work


@asynccontextmanager
async def open_shared_archive(uri: str, database: str, root: Path, lease: float) -> AsyncIterator[Archive]:
    """The archive that all processes with these arguments share."""
    config = ArchiveConfig(
        documents=MongodbDocuments(uri=uri, database=database),
        hubs=(HubConfig(alias="embedded", storage=FilesystemBuckets(path=root / "objects")),),
        keys_directory=root / "keys",
        settings=ArchiveSettings(job_lease=lease, open_uploads=100),
    )
    async with open_archive(config) as archive:
        yield archive


class HeldLease(Lease):
    """A lease whose work is done and not committed while a file exists."""

    hold: Path

    async def commit(self, change: Change | None = None, *, then: Next | None = None) -> None:
        while self.hold.exists():
            await trio.sleep(0.01)
        await super().commit(change, then=then)


def held(archive: Archive, hold: Path) -> Work:
    """The interrogation of an archive, which is not committed while a file exists."""

    async def interrogate(lease: Lease) -> None:
        mine = HeldLease(archive.jobs, lease.job)
        mine.hold = hold
        await archive.works["interrogate"](mine)
        lease.job, lease.is_over = mine.job, mine.is_over

    return interrogate


async def main(uri: str, database: str, root: Path, lease: float) -> None:
    async with open_shared_archive(uri, database, root, lease) as archive, trio.open_nursery() as nursery:
        works = {**archive.works, "interrogate": held(archive, root / "hold")}
        nursery.start_soon(attrs.evolve(archive, works=works).make_worker().run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            print("working", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
