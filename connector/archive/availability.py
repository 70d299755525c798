"""The start of a process whose database or storage is not there yet, as when all of them are started together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import ArchiveConfig
from connector.errors import BrokenError

_log = logging.getLogger(__name__)

_PAUSE = 1.0


@asynccontextmanager
async def open_when_available(
    config: ArchiveConfig, *, patience: float, base_url: str = "http://archive.invalid"
) -> AsyncIterator[Archive]:
    """Open an archive as `open_archive` does, with its checks, as soon as its database and storages answer.

    Args:
        config: Its configuration.
        patience: Seconds after which it is not tried again; 0 for one attempt. What is said of an attempt is logged.
        base_url: The URL under which the archive is served.

    Raises:
        LocalError: As `open_archive`, at once.
        UsageError: As `open_archive`, at once.
        BrokenError: The database or a storage still does not answer.
    """
    deadline = trio.current_time() + patience
    said = ""
    async with AsyncExitStack() as stack:
        while True:
            try:
                archive = await stack.enter_async_context(open_archive(config, base_url=base_url, check=True))
                break
            except BrokenError as error:
                left = deadline - trio.current_time()
                if left <= 0:
                    raise
                if error.message != said:
                    said = error.message
                    _log.warning("%s This is tried again for up to %.0f s.", said, left)
            await trio.sleep(min(_PAUSE, left))
        yield archive
