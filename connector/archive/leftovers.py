"""What killed processes have left in the directories of hubs. Servers of S3 clean up after themselves."""

from __future__ import annotations

import logging

import trio

from connector.archive.hubs import Hubs
from connector.archive.providers import opening
from connector.transfer.reporting import is_bug
from persistence.objects.filesystem import FilesystemStorage

_log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.1


async def settle(hubs: Hubs, *, patience: float = 0.0) -> None:
    """Finish half-done steps, before this process writes, unless others write already.

    Args:
        hubs: The hubs.
        patience: Seconds to wait for the others. The worker of a server that was killed ends a moment after it.

    Raises:
        LocalError: A directory cannot be used.
    """
    for hub in hubs:
        if isinstance(hub.storage, FilesystemStorage):
            deadline = trio.current_time() + patience
            with opening(f"The storage of hub {hub.alias}"):  # a folder may have gone since it was opened
                while not await hub.storage.settle():
                    if trio.current_time() >= deadline:
                        break
                    await trio.sleep(_POLL_INTERVAL)


async def remove_leftovers(hubs: Hubs) -> None:
    """Remove files that belong to no object, among those that `settle` has found. Reads the names of all objects."""
    for hub in hubs:
        if isinstance(hub.storage, FilesystemStorage):
            try:
                await hub.storage.remove_leftovers()
            except Exception as error:
                if is_bug(error):
                    raise
                _log.error("Files without an object could not be removed from %s: %s", hub.alias, error)
