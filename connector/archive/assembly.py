"""The composition root of the archive: its services over its hubs and one document database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from connector.archive.boxes import BoxService
from connector.archive.cleanup import Cleanup
from connector.archive.download_controller import DownloadController
from connector.archive.file_registry import FileRegistry
from connector.archive.hubs import Hub, Hubs
from connector.archive.ingest import Ingest, Removal
from connector.archive.interrogation_worker import InterrogationWorker
from connector.archive.key_store import KeyStore
from connector.archive.keys import ArchiveKeys, load_keys
from connector.archive.models import Box, Counter, FileUpload, RegisteredFile, StoredSecret, WorkPackage
from connector.archive.settings import ArchiveSettings, Clock
from connector.archive.staging import StagingArea
from connector.archive.tokens import TokenIssuer
from connector.archive.upload_controller import UploadController
from connector.archive.upload_repository import UploadRepository
from connector.archive.work_packages import WorkPackageService
from connector.errors import LocalError
from persistence.documents.protocol import DaoFactory, Index
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.objects.filesystem import FilesystemStorage, UrlSigner


@attrs.frozen(kw_only=True)
class Archive:
    """An open archive and its services."""

    settings: ArchiveSettings
    keys: ArchiveKeys
    hubs: Hubs
    tokens: TokenIssuer
    boxes: BoxService
    upload_repository: UploadRepository
    registry: FileRegistry
    key_store: KeyStore
    work_packages: WorkPackageService
    uploads: UploadController
    downloads: DownloadController
    staging: StagingArea
    interrogation: InterrogationWorker
    cleanup: Cleanup


async def assemble(
    settings: ArchiveSettings, keys: ArchiveKeys, hubs: Hubs, documents: DaoFactory, *, clock: Clock
) -> Archive:
    """Connect the services of an archive over hubs with open storages and an open database.

    Creates the collections that are missing. Tests pass other storages, databases and clocks.
    """
    upload_indexes = [Index(("box_id", "alias")), Index(("box_id", "created")), Index("state")]
    uploads = UploadRepository(await documents.dao("uploads", FileUpload, id_field="id", indexes=upload_indexes), clock)
    files = await documents.dao("files", RegisteredFile, id_field="accession", indexes=[Index("file_id", unique=True)])
    registry = FileRegistry(files, await documents.dao("counters", Counter, id_field="id"), clock)
    boxes = BoxService(await documents.dao("boxes", Box, id_field="id"), clock)
    secrets = await documents.dao("secrets", StoredSecret, id_field="id")
    key_store = KeyStore(secrets, store_key=keys.store_key)
    tokens = TokenIssuer(keys.signing, lifetime=settings.work_order_lifetime, clock=clock)
    packages = await documents.dao("packages", WorkPackage, id_field="id")
    staging = StagingArea(hubs, settings, clock)
    removal = Removal(registry, key_store, staging, hubs)
    ingest = Ingest(boxes, uploads, registry, removal, hubs, settings.manual_archival)
    worker = InterrogationWorker(uploads, key_store, ingest, hubs, settings.interrogation_memory)
    return Archive(
        settings=settings,
        keys=keys,
        hubs=hubs,
        tokens=tokens,
        boxes=boxes,
        upload_repository=uploads,
        registry=registry,
        key_store=key_store,
        work_packages=WorkPackageService(packages, registry, tokens, clock, settings.package_lifetime),
        uploads=UploadController(boxes, uploads, removal, hubs, settings, clock, received=worker.enqueue),
        downloads=DownloadController(registry, key_store, staging, hubs, settings),
        staging=staging,
        interrogation=worker,
        cleanup=Cleanup(uploads, registry, key_store, removal, hubs, settings),
    )


@asynccontextmanager
async def open_archive(
    settings: ArchiveSettings, *, storage_url: str = "http://storage.invalid", clock: Clock = time.time
) -> AsyncIterator[Archive]:
    """Open the archive below `settings.root`; create it if there is none.

    Several processes may have it open; only one of them may serve it.

    Args:
        settings: The archive's settings.
        storage_url: The base of presigned URLs.
        clock: The time in seconds since the epoch.

    Raises:
        LocalError: The directory or the keys in it cannot be used.
    """
    keys = await trio.to_thread.run_sync(_prepare, settings)
    signer = UrlSigner(storage_url, keys.url_secret, clock)
    storage = FilesystemStorage(settings.objects_path, signing=signer)
    hub = Hub(
        alias=settings.storage_alias, private_keys=(keys.hub_private,), public_key=keys.hub_public, storage=storage
    )
    async with storage, SqliteDaoFactory(settings.database_path) as documents:
        await hub.create_buckets()
        yield await assemble(settings, keys, Hubs([hub]), documents, clock=clock)


def archive_exists(root: Path) -> bool:
    """Whether there is an archive below this directory."""
    return ArchiveSettings(root).database_path.is_file()


def _prepare(settings: ArchiveSettings) -> ArchiveKeys:
    try:
        settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalError(f"The archive's directory {settings.root} cannot be created: {error.strerror}.") from error
    return load_keys(settings.keys_path)
