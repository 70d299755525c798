"""What killed processes have left in the directories of hubs. Servers of S3 clean up after themselves."""

from __future__ import annotations

import logging

from connector.archive.hubs import Hubs
from persistence.errors import PersistenceError
from persistence.objects.filesystem import FilesystemStorage

_log = logging.getLogger(__name__)


async def settle(hubs: Hubs) -> None:
    """Finish half-done steps, before this process writes, unless others write already."""
    for hub in hubs:
        if isinstance(hub.storage, FilesystemStorage):
            await hub.storage.settle()


async def remove_leftovers(hubs: Hubs) -> None:
    """Remove files that belong to no object, among those that `settle` has found. Reads the names of all objects."""
    for hub in hubs:
        if isinstance(hub.storage, FilesystemStorage):
            try:
                await hub.storage.remove_leftovers()
            except PersistenceError as error:
                _log.error("Files without an object could not be removed from %s: %s", hub.alias, error)
