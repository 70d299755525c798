"""Runs an archive: its server, its staging and its interrogation, until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from connector.archive.app import SERVICES, WELL_KNOWN_PATH, make_app
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import ArchiveConfig
from connector.archive.server import DEFAULT_SERVER_SETTINGS, ServerSettings, open_listener, serve, url_of
from connector.errors import LocalError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def single_instance_lock(root: Path) -> Iterator[None]:
    """Hold the archive's directory for this process within the block.

    Two servers would interrogate every file twice and count the usage of boxes wrongly. File systems without locks
    (some of clusters) give no protection, and no error.

    Raises:
        LocalError: Another process serves the directory, or it cannot be used.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(root / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalError(f"The archive's directory {root} cannot be used: {error.strerror}.") from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(
                    f"The archive in {root} is being served already.",
                    hint="Stop the other server first, or choose another --root.",
                ) from error
            except OSError:
                pass
        yield
    finally:
        os.close(descriptor)


async def run_archive(
    config: ArchiveConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    services: Collection[str] = SERVICES,
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
        ready: Called with the URL of the well-known values once connections are accepted.
        stop: Ends the server.
        server: How connections are treated.

    Raises:
        LocalError: The port is taken, or a directory cannot be used or is being served already.
        UsageError: The configuration names something that does not exist, or that the archive may not use.
        BrokenError: The database or a storage does not answer.
    """
    listener = open_listener(host, port)
    with listener, single_instance_lock(config.keys_directory.parent):
        base_url = config.public_url or url_of(listener, host)
        async with open_archive(config, base_url=base_url, check=True) as archive:
            app = make_app(archive, base_url, services)
            await archive.cleanup.settle()
            async with trio.open_nursery() as background:
                background.start_soon(archive.staging.run)
                background.start_soon(_interrogate, archive)
                async with trio.open_nursery() as foreground:
                    await foreground.start(partial(serve, app, listener, stop=stop, settings=server))
                    ready(base_url + WELL_KNOWN_PATH)
                background.cancel_scope.cancel()


async def _interrogate(archive: Archive) -> None:
    """Clean up after an earlier run, then interrogate what it left unfinished and what arrives."""
    await archive.cleanup.documents()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.cleanup.objects)
        nursery.start_soon(archive.interrogation.run)
