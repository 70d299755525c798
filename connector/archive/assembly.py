"""The composition root of the archive: its services over its hubs and one document database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import attrs

from connector.archive.boxes import BoxService
from connector.archive.check import ArchiveCheck
from connector.archive.cleaning import Cleaner
from connector.archive.config import ArchiveConfig, SqliteDocuments
from connector.archive.database import Database, open_database
from connector.archive.download_controller import DownloadController
from connector.archive.file_registry import FileRegistry
from connector.archive.hubs import Hub, Hubs
from connector.archive.interrogator import Interrogator
from connector.archive.jobs import JobQueue
from connector.archive.key_formats import parse_private_key
from connector.archive.key_ring import KeyRing
from connector.archive.key_rotation import KeyRotation, complete_ring
from connector.archive.key_store import KeyStore
from connector.archive.master_keys import GivenMasterKeys, MasterKeyDirectory, MasterKeySource
from connector.archive.models import ArchiveKey, JobKind
from connector.archive.providers import check_buckets, make_documents, make_storage, opening
from connector.archive.registration import Registrar
from connector.archive.schema import check_schema
from connector.archive.settings import ArchiveSettings, Clock
from connector.archive.staging import StagingArea
from connector.archive.tokens import TokenIssuer
from connector.archive.upload_controller import UploadController
from connector.archive.upload_creation import UploadCreator
from connector.archive.upload_repository import UploadRepository
from connector.archive.work_packages import WorkPackageService
from connector.archive.worker import Work, Worker
from persistence.documents import DaoFactory
from persistence.objects.filesystem import FilesystemStorage, UrlSigner

STORAGE_PATH = "/storage"
"""The path of the server below which it serves presigned URLs."""


@attrs.frozen(kw_only=True)
class Archive:
    """An open archive and its services."""

    settings: ArchiveSettings
    keys: KeyRing
    key_rotation: KeyRotation
    hubs: Hubs
    tokens: TokenIssuer
    boxes: BoxService
    upload_repository: UploadRepository
    registry: FileRegistry
    key_store: KeyStore
    work_packages: WorkPackageService
    uploads: UploadController
    downloads: DownloadController
    database: Database
    jobs: JobQueue
    check: ArchiveCheck
    works: Mapping[JobKind, Work]

    def make_worker(self, kinds: Collection[JobKind] | None = None) -> Worker:
        """A worker that does the jobs of these kinds, or of all."""
        return Worker(self.jobs, {kind: work for kind, work in self.works.items() if kinds is None or kind in kinds})


async def assemble(
    settings: ArchiveSettings, keys: KeyRing, hubs: Hubs, documents: DaoFactory, *, clock: Clock
) -> Archive:
    """Connect the services of an archive over hubs with open storages and an open database.

    Creates the collections that are missing. Tests pass other storages, databases and clocks.
    """
    database = await open_database(documents)
    uploads = UploadRepository(database, clock)
    registry = FileRegistry(database, clock)
    boxes = BoxService(database, clock)
    key_store = KeyStore(database.secrets, keys)
    tokens = TokenIssuer(keys, lifetime=settings.work_order_lifetime, leeway=settings.token_leeway, clock=clock)
    creator = UploadCreator(database, boxes, uploads, hubs, settings, clock)
    staging = StagingArea(database, hubs, settings, clock)
    interrogator = Interrogator(database, key_store, hubs, settings.interrogation_memory, clock)
    registrar = Registrar(database, boxes, registry, hubs, settings.manual_archival, clock)
    cleaner = Cleaner(database, hubs, settings.upload_lifetime, clock)
    works: dict[JobKind, Work] = {
        "expire": cleaner.expire,
        "interrogate": interrogator.interrogate,
        "register": registrar.register,
        "stage": staging.stage,
        "unstage": staging.unstage,
        "clean": cleaner.clean,
        "archive_box": registrar.archive_box,
    }
    rotation = KeyRotation(keys, key_store, uploads, clock)
    return Archive(
        settings=settings,
        keys=keys,
        key_rotation=rotation,
        check=ArchiveCheck(database, hubs, keys, rotation, settings, clock),
        hubs=hubs,
        tokens=tokens,
        boxes=boxes,
        upload_repository=uploads,
        registry=registry,
        key_store=key_store,
        work_packages=WorkPackageService(database.packages, registry, tokens, clock, settings.package_lifetime),
        uploads=UploadController(database, boxes, uploads, creator, hubs, settings, clock),
        downloads=DownloadController(registry, key_store, staging, hubs, settings),
        database=database,
        jobs=JobQueue(database, settings.job_lease),
        works=works,
    )


@asynccontextmanager
async def open_archive(
    config: ArchiveConfig,
    *,
    base_url: str = "http://archive.invalid",
    check: bool = False,
    create: bool = True,
    upgrading: bool = False,
    clock: Clock = time.time,
) -> AsyncIterator[Archive]:
    """Open an archive; an embedded one is created if there is none. Any number of processes may have it open.

    Args:
        config: Its configuration.
        base_url: The URL under which the archive is served; presigned URLs of directories begin with it.
        check: Whether to check that the buckets of S3 servers exist.
        create: Whether an empty database becomes that of a new archive.
        upgrading: Whether the database may be on its way from an earlier version.
        clock: The time in seconds since the epoch.

    Raises:
        LocalError: A directory or the keys cannot be used.
        UsageError: The configuration names something that does not exist, or that the archive may not use; or the
            database is of another version.
        BrokenError: The database or a storage does not answer.
    """
    async with AsyncExitStack() as stack:
        with opening("The database"):
            documents = await stack.enter_async_context(await make_documents(config.documents))
            if not upgrading:
                await check_schema(documents, create=create)
            keys = await open_key_ring(documents, master_keys(config))
            hub_keys = {hub.alias: hub.private_key and parse_private_key(hub.private_key) for hub in config.hubs}
            await complete_ring(keys, hub_keys)
        hubs = []
        for one in config.hubs:
            with opening(f"The storage of hub {one.alias}"):
                signer = UrlSigner(storage_url(config, one.alias, base_url), keys.url_secrets, clock)
                storage = await stack.enter_async_context(make_storage(one.storage, signer))
                hub = Hub(alias=one.alias, label=one.label, ring=keys, storage=storage, buckets=one.storage)
                if check or isinstance(storage, FilesystemStorage):
                    await check_buckets(hub, one, documents)
            hubs.append(hub)
        with opening("The database"):
            archive = await assemble(config.settings, keys, Hubs(hubs), documents, clock=clock)
        yield archive


async def open_key_ring(documents: DaoFactory, masters: MasterKeySource) -> KeyRing:
    """The key ring of an open database, read once."""
    ring = KeyRing(await documents.dao("keys", ArchiveKey, id_field="id"), masters, documents.now)
    await ring.refresh()
    return ring


def master_keys(config: ArchiveConfig) -> MasterKeySource:
    """Where the master keys of an archive are."""
    if config.master_keys is not None:
        return GivenMasterKeys.parse(config.master_keys)
    return MasterKeyDirectory(config.keys_directory)


def storage_url(config: ArchiveConfig, alias: str, base_url: str) -> str:
    """The URL below which the archive serves the presigned URLs of a hub's directory."""
    return base_url + STORAGE_PATH + (f"/{alias}" if len(config.hubs) > 1 else "")


def archive_exists(config: ArchiveConfig) -> bool:
    """Whether there may be an archive of this configuration: in case of SQLite, whether its file is there."""
    return not isinstance(config.documents, SqliteDocuments) or config.documents.path.is_file()
