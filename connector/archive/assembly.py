"""Puts an archive together: its services over one storage and one document database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from connector.archive.boxes import BoxService
from connector.archive.cleanup import Cleanup
from connector.archive.download_controller import DownloadController
from connector.archive.file_registry import FileRegistry
from connector.archive.interrogation import Ingest
from connector.archive.interrogation_room import InterrogationWorker
from connector.archive.key_store import KeyStore
from connector.archive.keys import ArchiveKeys, load_keys
from connector.archive.models import Box, Counter, FileUpload, RegisteredFile, StoredSecret, WorkPackage
from connector.archive.removal import Removal
from connector.archive.settings import BUCKETS, ArchiveSettings, Clock
from connector.archive.staging import StagingArea
from connector.archive.tokens import TokenIssuer
from connector.archive.upload_controller import UploadController
from connector.archive.upload_ledger import UploadLedger
from connector.archive.work_packages import WorkPackageService
from connector.errors import LocalError
from persistence.documents.protocol import DaoFactory, Index
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import AlreadyExists
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.protocol import ObjectStorage


@attrs.frozen
class Archive:
    """An open archive and its services."""

    settings: ArchiveSettings
    keys: ArchiveKeys
    storage: ObjectStorage
    mint: TokenIssuer
    boxes: BoxService
    ledger: UploadLedger
    registry: FileRegistry
    key_store: KeyStore
    work_packages: WorkPackageService
    uploads: UploadController
    downloads: DownloadController
    staging: StagingArea
    interrogation: InterrogationWorker
    cleanup: Cleanup


async def assemble(
    settings: ArchiveSettings, keys: ArchiveKeys, storage: ObjectStorage, documents: DaoFactory, *, clock: Clock
) -> Archive:
    """All services of an archive over an open storage and an open database; makes their buckets and collections."""
    for bucket in BUCKETS:
        if not await storage.bucket_exists(bucket):
            with suppress(AlreadyExists):  # another process of this archive was faster
                await storage.create_bucket(bucket)
    boxes = BoxService(await documents.dao("boxes", Box, id_field="id"), clock=clock)
    uploads = await documents.dao(
        "uploads",
        FileUpload,
        id_field="id",
        indexes=[Index(("box_id", "alias")), Index(("box_id", "created")), Index("state")],
    )
    ledger = UploadLedger(uploads, clock=clock)
    files = await documents.dao("files", RegisteredFile, id_field="accession", indexes=[Index("file_id", unique=True)])
    registry = FileRegistry(files, await documents.dao("counters", Counter, id_field="id"), clock=clock)
    secrets = await documents.dao("secrets", StoredSecret, id_field="id")
    key_store = KeyStore(secrets, store_key=keys.store_key)
    mint = TokenIssuer(keys.signing, lifetime=settings.work_order_lifetime, clock=clock)
    staging = StagingArea(storage, settings, clock=clock)
    removal = Removal(registry, key_store, staging, storage)
    interrogation = InterrogationWorker(
        ledger,
        key_store,
        Ingest(boxes, ledger, registry, removal, storage, manual=settings.manual_archival),
        storage,
        hub_private_key=keys.hub_private,
        memory=settings.interrogation_memory,
    )
    return Archive(
        settings=settings,
        keys=keys,
        storage=storage,
        mint=mint,
        boxes=boxes,
        ledger=ledger,
        registry=registry,
        key_store=key_store,
        work_packages=WorkPackageService(
            await documents.dao("packages", WorkPackage, id_field="id"),
            registry,
            mint,
            clock=clock,
            package_lifetime=settings.package_lifetime,
        ),
        uploads=UploadController(
            boxes, ledger, removal, storage, settings, clock=clock, received=interrogation.received
        ),
        downloads=DownloadController(registry, key_store, staging, storage, settings, hub_private_key=keys.hub_private),
        staging=staging,
        interrogation=interrogation,
        cleanup=Cleanup(ledger, registry, key_store, removal, storage, settings),
    )


@asynccontextmanager
async def open_archive(
    settings: ArchiveSettings, *, storage_url: str = "http://storage.invalid", clock: Clock = time.time
) -> AsyncIterator[Archive]:
    """Open the archive below ``settings.root``, making it if there is none.

    Several processes may have it open; only one of them may serve it. ``storage_url`` is where presigned URLs lead.
    """
    keys = await trio.to_thread.run_sync(_prepare, settings)
    signer = UrlSigner(storage_url, keys.url_secret, clock)
    storage = FilesystemStorage(settings.objects_path, signing=signer)
    async with storage, SqliteDaoFactory(settings.database_path) as documents:
        yield await assemble(settings, keys, storage, documents, clock=clock)


def archive_exists(root: Path) -> bool:
    """Whether an archive was made below this directory."""
    return ArchiveSettings(root).database_path.is_file()


def _prepare(settings: ArchiveSettings) -> ArchiveKeys:
    try:
        settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalError(f"The archive's directory {settings.root} cannot be made: {error.strerror}.") from error
    return load_keys(settings.keys_path)
