"""The background job that interrogates and registers received uploads, also after a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio

from connector.adapters.failures import MissingObjectError, storage_failures
from connector.archive.hubs import Hubs
from connector.archive.ingest import Ingest, WithdrawnError
from connector.archive.interrogation import Interrogation
from connector.archive.key_store import KeyStore
from connector.archive.models import UNFINISHED, FileUpload, RegisteredFile
from connector.archive.upload_repository import UploadRepository
from connector.errors import ConnectorError, IntegrityError
from connector.transfer.buffers import BufferPool
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.observer import SilentObserver
from connector.transfer.outcome import Outcome
from connector.transfer.retry import Backoff, Retrier
from connector.transfer.scheduler import Scheduler
from persistence.errors import NotFound

_log = logging.getLogger(__name__)

_FILES_AT_ONCE = 4
_RETRY_AFTER = 60.0
_BOX_POLL_INTERVAL = 1.0


@attrs.define(eq=False)
class InterrogationWorker:
    """Interrogates uploads: `enqueue` adds one, `run` does the work.

    Args:
        memory: Bytes of buffers that all interrogations together may use.
    """

    _uploads: UploadRepository
    _key_store: KeyStore
    _ingest: Ingest
    _hubs: Hubs
    _memory: int
    _queued: dict[str, FileUpload] = attrs.field(factory=dict, init=False)
    _in_progress: set[str] = attrs.field(factory=set, init=False)
    _wakeup: trio.Event = attrs.field(factory=trio.Event, init=False)
    _threads: trio.CapacityLimiter = attrs.field(init=False)
    _scheduler: Scheduler = attrs.field(init=False)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Divide the machine: the computations leave one core to serving, all files share the buffers."""
        cores = os.cpu_count() or 1
        self._threads = trio.CapacityLimiter(max(1, cores - 1))
        self._scheduler = Scheduler(
            pool=BufferPool(self._memory),
            limit=ConcurrencyLimit.fixed(max(2, cores)),
            retrier=Retrier(attempts=4, backoff=Backoff(base=0.2, cap=2.0)),
            observer=SilentObserver(),
            window=_FILES_AT_ONCE,
        )

    def enqueue(self, upload: FileUpload) -> None:
        """Have an upload interrogated, unless that is in progress."""
        if upload.id not in self._in_progress:
            self._queued[upload.id] = upload
            self._wakeup.set()

    async def run(self) -> None:
        """Work until cancelled, beginning with what an earlier run left unfinished."""
        slots = trio.Semaphore(_FILES_AT_ONCE)
        async for upload in self._uploads.find_unfinished():
            self.enqueue(upload)
        async with trio.open_nursery() as self._nursery:
            if self._ingest.manual:
                self._nursery.start_soon(self._watch_boxes)
            while True:
                await slots.acquire()
                while not self._queued:
                    self._wakeup = trio.Event()
                    await self._wakeup.wait()
                upload = self._queued.pop(next(iter(self._queued)))
                self._in_progress.add(upload.id)
                self._nursery.start_soon(self._process, upload, slots)

    async def _process(self, upload: FileUpload, slots: trio.Semaphore) -> None:
        try:
            await self._attempt(self._interrogate if upload.state == "inbox" else self._ingest.register, upload)
        finally:
            self._in_progress.discard(upload.id)
            slots.release()

    async def _attempt(self, work: Callable[[FileUpload], Awaitable[object]], upload: FileUpload) -> None:
        try:
            await work(upload)
        except WithdrawnError:
            pass
        except ConnectorError as error:
            self._postpone(upload, error)

    async def _interrogate(self, upload: FileUpload) -> None:
        """Interrogate an upload; one that is not valid has failed. Raises errors of the storage and the database."""
        hub = self._hubs.get(upload.storage_alias)
        interrogation = Interrogation(upload, hub, self._uploads, self._key_store, self._ingest, self._threads)
        outcomes: list[Outcome[RegisteredFile | None]] = await self._scheduler.run([interrogation])
        error = outcomes[0].error
        if error is None:
            return
        if isinstance(error, WithdrawnError) or not isinstance(error, IntegrityError | MissingObjectError):
            raise error
        with storage_failures():
            if await self._uploads.move(upload, "failed", failure=error.message) is None:
                return  # cancelled or replaced meanwhile, and its object with it
            _log.warning("The upload %s (%r) failed: %s", upload.id, upload.alias, error.message)
            for bucket in (hub.inbox, hub.permanent):  # there: of an interrogation before a crash
                with suppress(NotFound):
                    await hub.storage.delete_object(bucket, upload.id)

    async def _watch_boxes(self) -> None:
        """Register the files of boxes that a steward archives in another process."""
        while True:
            try:
                for upload in await self._ingest.find_archivable():
                    # Not through the queue, which passes over uploads in progress: this one may just end.
                    await self._attempt(self._ingest.register, upload)
            except ConnectorError as error:
                _log.error("Whether boxes were archived could not be read: %s", error)
            await trio.sleep(_BOX_POLL_INTERVAL)

    def _postpone(self, upload: FileUpload, error: ConnectorError) -> None:
        """Try an upload again later: the storage or the database has a problem, not the file."""
        _log.error("The upload %s is tried again in %s s: %s", upload.id, int(_RETRY_AFTER), error)

        async def enqueue_later() -> None:
            await trio.sleep(_RETRY_AFTER)
            try:
                with storage_failures():
                    current = await self._uploads.find(upload.id)
            except ConnectorError as failure:
                return self._postpone(upload, failure)
            if current is not None and current.state in UNFINISHED:
                self.enqueue(current)

        self._nursery.start_soon(enqueue_later)
