"""Runs an archive: its server, its staging and its interrogation, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from connector.archive.app import STORAGE_PATH, WELL_KNOWN_PATH, make_app
from connector.archive.assembly import Archive, open_archive
from connector.archive.server import DEFAULT_SERVER_SETTINGS, ServerSettings, open_listener, serve, url_of
from connector.archive.settings import ArchiveSettings
from connector.archive.single_instance_lock import single_instance_lock


async def run_archive(
    settings: ArchiveSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    public_url: str | None = None,
    ready: Callable[[str], None] = lambda url: None,
    stop: trio.Event,
    server: ServerSettings = DEFAULT_SERVER_SETTINGS,
) -> None:
    """Serve the archive below ``settings.root`` until ``stop`` is set.

    ``ready`` is called with the URL of the well-known values once connections are accepted. ``public_url`` is how
    clients reach the server, if not by ``host`` and port. Raises :class:`~connector.errors.LocalError` if the port is
    taken, or the directory cannot be used or is being served already.
    """
    listener = open_listener(host, port)
    with listener, single_instance_lock(settings.root):
        base_url = (public_url or url_of(listener, host)).rstrip("/")
        async with open_archive(settings, storage_url=base_url + STORAGE_PATH) as archive:
            app = make_app(archive, base_url)
            await archive.cleanup.settle()
            async with trio.open_nursery() as background:
                background.start_soon(archive.staging.run)
                background.start_soon(_interrogate, archive)
                async with trio.open_nursery() as foreground:
                    await foreground.start(partial(serve, app, listener, stop=stop, settings=server))
                    ready(base_url + WELL_KNOWN_PATH)
                background.cancel_scope.cancel()


async def _interrogate(archive: Archive) -> None:
    """Clean up what an earlier run left, and interrogate what it left undone and what comes."""
    await archive.cleanup.documents()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.cleanup.objects)
        nursery.start_soon(archive.interrogation.run)
