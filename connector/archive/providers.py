"""Makes the database and the storages that a configuration names, and tells in one sentence why they cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from connector.archive.config import FilesystemBuckets, HubConfig, MongodbDocuments, S3Buckets, SqliteDocuments
from connector.archive.hubs import Hub
from connector.archive.models import Box
from connector.errors import BrokenError, ConnectorError, LocalError, UsageError
from connector.transfer.reporting import is_this_machines
from persistence.documents import DaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import DeadlineExceeded, PersistenceError, Rejected, Unavailable
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.protocol import ObjectStorage

_DURABLE = {"w": "majority", "readPreference": "primary", "retryWrites": True}
"""Options of MongoDB that take precedence over those of the URI. What an archive deletes follows from its documents:
none may be lost with a primary, be read as it was before, or not be acknowledged at all."""


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Translate errors of the block, which opens `what`.

    Raises:
        UsageError: The configuration is wrong, or an optional package is missing.
        BrokenError: The service does not answer.
        LocalError: A file or directory cannot be used.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{what} needs a package that is not installed: {error.name}.",
            hint="Install crypt4gh-connector with its extras: pip install 'crypt4gh-connector[mongodb,s3]'.",
        ) from error
    except PersistenceError as error:
        raise _family(error)(f"{what} cannot be used: {error.message}", hint=error.hint) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise LocalError(f"{what} cannot be used: {place}{error.strerror or error}.") from error


def _family(error: PersistenceError) -> type[ConnectorError]:
    if is_this_machines(error):
        return LocalError
    if isinstance(error, Unavailable | DeadlineExceeded):
        return BrokenError
    return UsageError if isinstance(error, Rejected) else LocalError


async def make_documents(config: SqliteDocuments | MongodbDocuments) -> DaoFactory:
    """The database of an archive, to be opened; the directory of an SQLite file is created if it is missing."""
    if isinstance(config, SqliteDocuments):
        await trio.to_thread.run_sync(lambda: config.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700))
        return SqliteDaoFactory(config.path)
    from persistence.documents.mongodb import MongoDaoFactory, MongoSettings

    # Its own checks, of the URI and the rest.
    settings = MongoSettings(config.uri, config.database, config.deadline)
    return MongoDaoFactory(settings.uri, settings.database, deadline=settings.deadline, options=_DURABLE)


def make_storage(config: FilesystemBuckets | S3Buckets, signer: UrlSigner) -> ObjectStorage:
    """The storage of a hub, to be opened.

    Args:
        config: Its buckets.
        signer: Signs the presigned URLs of a directory; S3 servers have their own.

    Raises:
        LocalError: The certificates are in no regular file. OpenSSL would wait for a pipe.
    """
    if isinstance(config, FilesystemBuckets):
        return FilesystemStorage(config.path, signing=signer)
    if config.ca_file is not None and not config.ca_file.is_file():
        raise LocalError(f"There is no regular file {config.ca_file} with certificates.", hint="Correct ca_file.")
    from persistence.objects.s3 import S3Settings, S3Storage

    return S3Storage(S3Settings(**config.server))


async def check_buckets(hub: Hub, config: HubConfig, documents: DaoFactory) -> None:
    """Create the buckets of a directory; check that those of an S3 server exist.

    Raises:
        UsageError: A bucket is missing.
        LocalError: A directory that was in use is without its permanent bucket, as one that is not mounted. With empty
            buckets in its place, uploads that were received would fail, and be deleted once it is mounted again.
    """
    if isinstance(config.storage, FilesystemBuckets):
        if not await hub.storage.bucket_exists(hub.buckets.permanent):
            boxes = await documents.dao("boxes", Box, id_field="id")
            if await boxes.find_one({"storage_alias": hub.alias}) is not None:
                raise LocalError(
                    f"The directory {config.storage.path} of hub {hub.alias}, which is in use, has no bucket"
                    f" {hub.buckets.permanent!r}.",
                    hint="Is it mounted? If all that it had is lost, make the directories objects, data and uploads in"
                    f" {config.storage.path / 'buckets' / hub.buckets.permanent}.",
                )
        await hub.create_buckets()
        return
    for bucket in hub.buckets.names:
        if not await hub.storage.bucket_exists(bucket):
            raise UsageError(
                f"The storage of hub {hub.alias} ({config.storage.place}) has no bucket {bucket!r}.",
                hint="Create it, or correct inbox, permanent and download in the configuration.",
            )
