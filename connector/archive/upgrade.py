"""Brings an archive of an earlier version up to date. Every step may be repeated, so it may be killed at any time.

The first version had its keys in files of their own (`store.key`, `hub.key`, `signing.pem`, `url.key`), objects with
the ids of uploads as names, secrets with ids of their own, the counters of boxes in the server's memory, and no jobs.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import attrs
import trio

from connector.archive.assembly import Archive, open_archive, open_key_ring
from connector.archive.config import ArchiveConfig
from connector.archive.database import Database
from connector.archive.key_formats import parse_key, read_secret
from connector.archive.master_keys import MasterKeyDirectory
from connector.archive.models import REPLACEABLE, FileUpload
from connector.archive.providers import make_documents, opening
from connector.archive.schema import SCHEMA, VERSION, check_schema, is_empty, migrations, schema_version
from connector.archive.sealing import MasterKey
from connector.errors import LocalError, UsageError
from persistence.documents import DaoFactory, migrate
from persistence.errors import NotFound

_STORE_KEY, _HUB_KEY = "store.key", "hub.key"
_FORMER_FILES = (_HUB_KEY, "signing.pem", "url.key", _STORE_KEY)
"""The keys of the first version, in the order in which they may be removed."""


async def upgrade_archive(config: ArchiveConfig) -> int:
    """Bring the database of an archive up to date. No other process may have it open.

    Returns:
        How many documents were changed; 0 if there was nothing to do.

    Raises:
        UsageError: The database is of a later version, or the configuration does not fit it.
        LocalError: The keys of the first version are missing.
    """
    changed = 0
    with opening("The database"):
        async with await make_documents(config.documents) as documents:
            version = await schema_version(documents)
            if version >= VERSION or await is_empty(documents):
                await check_schema(documents)
                return 0
            master_id = await take_over_keys(config, documents)
            changed += await remove_doubles(documents)
            # All but the last, which says that the rest is done, too.
            changed += await migrate(documents, migrations(master_id)[:-1], name=SCHEMA)
    async with open_archive(config, upgrading=True) as archive:
        await _check_aliases(archive)
        changed += await _finish_deletions(archive.database)
        changed += await _rename_secrets(archive)
        # Writes the boxes' counters and the jobs, and removes what nothing names.
        await archive.check.run(lambda fault, repaired: None, repair=True, delete_unknown=True, pause=0.0)
        await migrate(archive.database.factory, migrations(), name=SCHEMA)
    await trio.to_thread.run_sync(_remove_former_files, config.keys_directory)
    return changed


async def take_over_keys(config: ArchiveConfig, documents: DaoFactory) -> str:
    """Make a master key of the store key, and enter the hub's key into the ring; the others live for minutes only.

    Returns:
        The id of the master key under which the first version has sealed its secrets.
    """
    directory = config.keys_directory
    store_key, hub_key = directory / _STORE_KEY, directory / _HUB_KEY
    ring = await open_key_ring(documents, MasterKeyDirectory(directory))
    if await trio.to_thread.run_sync(store_key.exists):
        master = await trio.to_thread.run_sync(_take_over_store_key, directory)
        if not await ring.count("master"):
            await ring.add_master(master)
        if not await ring.count("hub"):
            private_key = parse_key(await trio.to_thread.run_sync(read_secret, hub_key))
            await ring.add_hub_key(config.hubs[0].alias, private_key)
        return master.id
    masters = ring.keys("master")
    if not masters:
        raise LocalError(
            f"There is no {_STORE_KEY} in {directory}, under which the secrets of the archive are sealed.",
            hint="Give the archive's own directory, or restore its keys.",
        )
    return masters[-1].id


def _take_over_store_key(directory: Path) -> MasterKey:
    master = MasterKey(parse_key(read_secret(directory / _STORE_KEY)))
    MasterKeyDirectory(directory).add(master)
    return master


async def _check_aliases(archive: Archive) -> None:
    """Refuse a configuration without the hub in which the boxes are."""
    async for box in archive.database.boxes.find_all():
        if box.storage_alias not in archive.hubs:
            raise UsageError(
                f"The box {box.id} is in the hub {box.storage_alias!r}, which is not configured.",
                hint="Give it as --storage-alias, or as the alias of the first of [[hubs]].",
            )


async def remove_doubles(documents: DaoFactory) -> int:
    """Remove records of failed and cancelled uploads whose alias another one has: an alias has one record now."""
    uploads = await documents.dao("uploads", dict, id_field="id")
    kept: dict[tuple[str, str], dict[str, object]] = {}
    doubles = []
    async for upload in uploads.find_all(sort=["id"]):
        alias = (upload["box_id"], upload["alias"])
        rival = kept.get(alias)
        if rival is None:
            kept[alias] = upload
        else:
            worse, better = sorted((rival, upload), key=lambda one: (one["state"] not in REPLACEABLE, one["created"]))
            if worse["state"] not in REPLACEABLE:
                raise UsageError(
                    f"The uploads {worse['id']} and {better['id']} have one alias, {upload['alias']!r}, in one box.",
                    hint="Delete one of them with the earlier version of this program.",
                )
            kept[alias] = better
            doubles.append(worse["id"])
    await uploads.delete_many(doubles)
    return len(doubles)


async def _finish_deletions(database: Database) -> int:
    """Remove the entries of files whose uploads are cancelled: a killed server had begun to."""
    count = 0
    async for upload in database.uploads.find_all({"state": "cancelled", "secret_id": {"$ne": None}}):
        file = await database.files.find_one({"file_id": upload.id})
        if file is not None:
            with suppress(NotFound):
                await database.files.delete(file.accession)
                count += 1
    return count


async def _rename_secrets(archive: Archive) -> int:
    """Name each secret by its object, so that `archive check` need not search for what it belongs to."""
    count = 0
    for upload in [one async for one in archive.database.uploads.find_all({"object_id": {"$ne": None}})]:
        count += await _rename_secret(archive, upload)
    return count


async def _rename_secret(archive: Archive, upload: FileUpload) -> bool:
    if upload.secret_id is None or upload.secret_id == upload.object_id:
        return False
    old_id, object_id = upload.secret_id, str(upload.object_id)
    try:
        sealed = await archive.key_store.seal(await archive.key_store.fetch(old_id), object_id)
    except NotFound:  # a fault, of which the check tells
        return False

    async def rename(database: Database) -> None:
        await database.secrets.upsert(sealed)
        await database.uploads.compare_and_set(upload.id, expected={}, changes={"secret_id": object_id})
        file = await database.files.find_one({"file_id": upload.id})
        if file is not None:
            await database.files.update(attrs.evolve(file, secret_id=object_id))
        await database.secrets.delete(old_id)

    await archive.database.transact(rename)
    return True


def _remove_former_files(directory: Path) -> None:
    for name in _FORMER_FILES:
        (directory / name).unlink(missing_ok=True)
