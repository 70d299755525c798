"""Runs an archive: its server and a worker, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import trio

from connector.archive.app import SERVICES, WELL_KNOWN_PATH, make_app
from connector.archive.availability import open_when_available
from connector.archive.child_process import ChildCommand, keep_running
from connector.archive.config import ArchiveConfig
from connector.archive.leftovers import remove_leftovers, settle
from connector.archive.server import DEFAULT_SERVER_SETTINGS, ServerSettings, open_listener, serve, url_of

_SETTLING_PATIENCE = 3.0


async def run_archive(
    config: ArchiveConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    services: Collection[str] = SERVICES,
    worker: ChildCommand | None = None,
    patience: float = 0.0,
    ready: Callable[[str], None] = lambda url: None,
    stop: trio.Event,
    server: ServerSettings = DEFAULT_SERVER_SETTINGS,
) -> None:
    """Serve an archive until `stop` is set.

    Args:
        config: The archive's configuration.
        host: The address to listen on.
        port: The port; 0 for any free one.
        services: Which services to serve.
        worker: A worker to run beside the server.
        patience: Seconds for which a database or storage that does not answer is waited for.
        ready: Called with the URL of the well-known values once connections are accepted.
        stop: Ends the server.
        server: How connections are treated.

    Raises:
        LocalError: The port is taken, or a directory cannot be used.
        UsageError: The configuration names something that does not exist, or that the archive may not use.
        BrokenError: The database or a storage does not answer.
    """
    listener = open_listener(host, port)
    with listener:
        base_url = config.public_url or url_of(listener, host)
        async with open_when_available(config, patience=patience, base_url=base_url) as archive:
            app = make_app(archive, base_url, services)
            await settle(archive.hubs, patience=_SETTLING_PATIENCE)
            async with trio.open_nursery() as background:
                background.start_soon(remove_leftovers, archive.hubs)
                if worker is not None:
                    background.start_soon(keep_running, worker)
                async with trio.open_nursery() as foreground:
                    await foreground.start(partial(serve, app, listener, stop=stop, settings=server))
                    ready(base_url + WELL_KNOWN_PATH)
                background.cancel_scope.cancel()
