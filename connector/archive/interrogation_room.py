"""The interrogation room: the background job that works through the received uploads, also after a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress

import trio

from connector.adapters.failures import MissingObjectError, storage_failures
from connector.archive.interrogation import Ingest, Interrogation, WithdrawnError
from connector.archive.key_store import KeyStore
from connector.archive.models import UNFINISHED, FileUpload, RegisteredFile
from connector.archive.settings import INBOX_BUCKET, PERMANENT_BUCKET
from connector.archive.upload_ledger import UploadLedger
from connector.errors import ConnectorError, IntegrityError
from connector.transfer.buffers import BufferPool
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.observer import SilentObserver
from connector.transfer.outcome import Outcome
from connector.transfer.retry import Backoff, Retrier
from connector.transfer.scheduler import Scheduler
from persistence.errors import NotFound
from persistence.objects.protocol import ObjectStorage

_log = logging.getLogger(__name__)

_BATCHES_AT_ONCE = 4
_WINDOW = 4
_TRY_AGAIN_AFTER = 60.0
_LOOK_EVERY = 1.0


class InterrogationWorker:
    """Interrogates uploads. :meth:`received` announces one, :meth:`run` does the work."""

    def __init__(
        self,
        ledger: UploadLedger,
        key_store: KeyStore,
        archivist: Ingest,
        storage: ObjectStorage,
        *,
        hub_private_key: bytes,
        memory: int,
    ) -> None:
        self._ledger = ledger
        self._key_store = key_store
        self._archivist = archivist
        self._storage = storage
        self._hub_private_key = hub_private_key
        self._memory = memory
        self._received: dict[str, FileUpload] = {}
        self._under_way: set[str] = set()
        self._bell = trio.Event()

    def received(self, upload: FileUpload) -> None:
        """Put an upload in line, unless it is being interrogated already."""
        if upload.id not in self._under_way:
            self._received[upload.id] = upload
            self._bell.set()

    @property
    def waiting(self) -> set[str]:
        """The ids of the uploads in line."""
        return set(self._received)

    async def run(self) -> None:
        """Work until cancelled, beginning with what was left undone when the archive was stopped.

        What arrives while files are being interrogated is taken up beside them; all of it shares the same buffers.
        """
        cores = os.cpu_count() or 1
        pool = BufferPool(self._memory)
        workers = trio.CapacityLimiter(cores)
        scheduler = Scheduler(
            pool=pool,
            limit=ConcurrencyLimit.fixed(max(2, cores)),
            retrier=Retrier(attempts=4, backoff=Backoff(base=0.2, cap=2.0)),
            observer=SilentObserver(),
            window=_WINDOW,
        )
        batches = trio.CapacityLimiter(_BATCHES_AT_ONCE)
        async for upload in self._ledger.find_unfinished():
            self.received(upload)
        async with trio.open_nursery() as nursery:
            if self._archivist.manual:
                nursery.start_soon(self._watch_boxes, nursery)
            while True:
                await self._bell.wait()
                batch = object()
                await batches.acquire_on_behalf_of(batch)
                self._bell = trio.Event()
                uploads, self._received = list(self._received.values()), {}
                self._under_way.update(upload.id for upload in uploads)
                nursery.start_soon(self._run_batch, batch, batches, uploads, scheduler, workers, nursery)

    async def _run_batch(
        self,
        batch: object,
        batches: trio.CapacityLimiter,
        uploads: list[FileUpload],
        scheduler: Scheduler,
        workers: trio.CapacityLimiter,
        nursery: trio.Nursery,
    ) -> None:
        try:
            by_id = {upload.id: upload for upload in uploads}
            outcomes: list[Outcome[RegisteredFile | None]] = await scheduler.run(self._interrogations(uploads, workers))
            for outcome in outcomes:
                if outcome.error is not None:
                    await self._judge(by_id[outcome.label], outcome.error, nursery)
            for upload in uploads:
                if upload.state != "inbox":
                    await self._take_in(upload, nursery)
        finally:
            self._under_way.difference_update(upload.id for upload in uploads)
            batches.release_on_behalf_of(batch)

    def _interrogations(self, uploads: list[FileUpload], workers: trio.CapacityLimiter) -> Iterator[Interrogation]:
        for upload in uploads:
            if upload.state == "inbox":
                yield Interrogation(
                    upload,
                    storage=self._storage,
                    ledger=self._ledger,
                    key_store=self._key_store,
                    archivist=self._archivist,
                    hub_private_key=self._hub_private_key,
                    workers=workers,
                )

    async def _watch_boxes(self, nursery: trio.Nursery) -> None:
        """Take in what waits in boxes that a steward archives, which another process does: look again and again."""
        while True:
            try:
                for upload in await self._archivist.released():
                    await self._take_in(upload, nursery)
            except ConnectorError as error:
                _log.error("Whether boxes were archived could not be read: %s", error)
            await trio.sleep(_LOOK_EVERY)

    async def _take_in(self, upload: FileUpload, nursery: trio.Nursery) -> None:
        try:
            await self._archivist.take_in(upload)
        except WithdrawnError:
            pass
        except ConnectorError as error:
            self._put_off(upload, error, nursery)

    async def _judge(self, upload: FileUpload, error: ConnectorError, nursery: trio.Nursery) -> None:
        """Decide what an interrogation that did not succeed means for its upload."""
        if isinstance(error, WithdrawnError):
            return
        if not isinstance(error, IntegrityError | MissingObjectError):
            return self._put_off(upload, error, nursery)
        try:
            with storage_failures():
                if await self._ledger.move(upload, "failed", failure=error.message) is None:
                    return  # cancelled or replaced meanwhile, and its object with it
                _log.warning("The upload %s (%r) failed: %s", upload.id, upload.alias, error.message)
                for bucket in (INBOX_BUCKET, PERMANENT_BUCKET):  # there: of an interrogation before a crash
                    with suppress(NotFound):
                        await self._storage.delete_object(bucket, upload.id)
        except ConnectorError as trouble:
            self._put_off(upload, trouble, nursery)

    def _put_off(self, upload: FileUpload, error: ConnectorError, nursery: trio.Nursery) -> None:
        """The storage or the database has a problem, not the file: leave it as it is and come back to it."""
        _log.error("The upload %s is put off by %s s: %s", upload.id, int(_TRY_AGAIN_AFTER), error)

        async def announce_later() -> None:
            await trio.sleep(_TRY_AGAIN_AFTER)
            # As it is by then; one that was replaced has no interrogation to come.
            try:
                with storage_failures():
                    now = await self._ledger.find(upload.id)
            except ConnectorError as error:
                return self._put_off(upload, error, nursery)
            if now is not None and now.state in UNFINISHED:
                self.received(now)

        nursery.start_soon(announce_later)
