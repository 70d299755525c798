"""The work of interrogation: moves received files into the permanent bucket, several at once, or finds them invalid."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

import attrs
import trio

from connector.adapters.object_parts import MissingObjectError, storage_failures
from connector.archive.attempts import check_unregistered, remove_earlier_attempts
from connector.archive.database import Database
from connector.archive.hubs import Hub, Hubs
from connector.archive.interrogation import Interrogation
from connector.archive.jobs import LostLease, Next
from connector.archive.key_store import KeyStore
from connector.archive.models import FileUpload
from connector.archive.settings import Clock
from connector.archive.upload_repository import UploadRepository
from connector.archive.worker import Lease
from connector.errors import ConnectorError, IntegrityError
from connector.transfer.buffers import BufferPool
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.reporting import SilentObserver
from connector.transfer.scheduler import Scheduler
from connector.transfer.steps import Backoff, Retrier
from persistence.errors import NotFound

_log = logging.getLogger(__name__)

_FILES_AT_ONCE = 4


@attrs.define(eq=False)
class Interrogator:
    """Interrogates received uploads. An upload that is not valid has failed, and its storage is freed.

    Args:
        memory: Bytes of buffers that all interrogations of this process together may use.
    """

    _database: Database
    _key_store: KeyStore
    _hubs: Hubs
    _memory: int
    _clock: Clock
    _threads: trio.CapacityLimiter = attrs.field(init=False)
    _scheduler: Scheduler = attrs.field(init=False)

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

    async def interrogate(self, lease: Lease) -> None:
        """The work of `interrogate`."""
        upload = await UploadRepository(self._database, self._clock).find(lease.job.id)
        if upload is None or upload.state != "inbox":
            return await lease.commit()
        hub = self._hubs.get(upload.storage_alias)
        if lease.job.earlier_attempt_ids and not await hub.storage.object_exists(hub.buckets.inbox, upload.id):
            await check_unregistered(lease.job, hub)  # before what may be that object is removed
        await remove_earlier_attempts(lease.job, hub, hub.buckets.permanent)
        object_id = lease.job.attempt_id
        (outcome,) = await self._scheduler.run([Interrogation(upload, hub, object_id, self._threads)])
        if outcome.error is None:
            await self._accept(lease, upload, hub, object_id, outcome.unwrap())
        elif await _is_invalid(outcome.error, upload, hub):
            if isinstance(outcome.error, MissingObjectError):
                await check_unregistered(lease.job, hub)
            await self._reject(lease, upload, outcome.error.message)
        else:
            raise outcome.error

    async def _accept(self, lease: Lease, upload: FileUpload, hub: Hub, object_id: str, secret: bytes) -> None:
        sealed = await self._key_store.seal(secret, object_id)

        async def enter(database: Database) -> None:
            await database.secrets.insert(sealed)
            uploads = UploadRepository(database, self._clock)
            await uploads.move(upload, "interrogated", secret_id=sealed.id, object_id=object_id)

        try:
            await lease.commit(enter, then=Next("register"))
        except LostLease:
            # After any other error the documents may name the object all the same; the next attempt finds out.
            with trio.move_on_after(30, shield=True), suppress(NotFound):
                await hub.storage.delete_object(hub.buckets.permanent, object_id)
            raise

    async def _reject(self, lease: Lease, upload: FileUpload, reason: str) -> None:
        async def enter(database: Database) -> None:
            await UploadRepository(database, self._clock).move(upload, "failed", failure=reason)

        await lease.commit(enter, then=Next("clean"))
        _log.warning("The upload %s (%r) failed: %s", upload.id, upload.alias, reason)


async def _is_invalid(error: ConnectorError, upload: FileUpload, hub: Hub) -> bool:
    """Whether an interrogation failed because of the file, and not of the storage."""
    if isinstance(error, MissingObjectError):
        with storage_failures():
            return not await hub.storage.object_exists(hub.buckets.inbox, upload.id)
    return isinstance(error, IntegrityError)
