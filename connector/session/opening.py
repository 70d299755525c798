"""Opening a session: HTTP, well-known values, the work package, threads and scheduler, put together."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from connector.clients.api_client import ApiClient
from connector.clients.exchange import ApiTransport
from connector.clients.objects import HttpObjectClient
from connector.clients.well_known import WellKnown
from connector.clients.work_packages import WorkPackageClient
from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.errors import UsageError
from connector.http import AddressPolicy, HttpOptions, open_http
from connector.local.state_folder import StateFolder
from connector.session.engine import network_limit, open_scheduler, open_threads
from connector.session.session import Session
from connector.transfer import GuardedObserver, Observer, Retrier, RunContext, SilentObserver
from connector.wire.tokens import AccessToken

_USUAL_OPEN_UPLOADS = 5
"""What an archive allows in a box unless its operators said otherwise; that it allows more shows itself soon."""


@asynccontextmanager
async def open_session(
    settings: Settings,
    keys: KeyPair,
    token: AccessToken,
    *,
    observer: Observer | None = None,
    state_folder: Path | None = None,
) -> AsyncIterator[Session]:
    """Connect to the archive at ``settings.wkvs_url`` and open the work package of ``token``.

    The journals of unfinished uploads and the notes of finished files are kept in ``state_folder`` (see
    :class:`~connector.local.state_folder.StateFolder`). Raises errors of
    the five families: see :mod:`connector.errors`.
    """
    if settings.wkvs_url is None:
        raise UsageError(
            "The archive's address is not known.",
            hint="Give --wkvs-url or set CONNECTOR_WKVS_URL, or put it into the configuration file.",
        )
    observer = GuardedObserver.of(observer or SilentObserver())
    options = HttpOptions(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_connections=max(64, settings.max_concurrency or 0),
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        proxies=urllib.request.getproxies(),
        address_policy=AddressPolicy.of(settings.wkvs_url),
    )
    retrier = Retrier(attempts=settings.retries + 1)
    with open_threads() as threads:
        async with open_http(options) as http:
            exchange = ApiTransport(http.api, deadline=settings.read_timeout)
            well_known = WellKnown(ApiClient(exchange, retrier, observer), settings.wkvs_url)
            caller = ApiClient(exchange, retrier, observer, refresh=well_known.refresh)
            packages = WorkPackageClient(caller, lambda: well_known.values.wps_api_url, token, keys)
            package = await packages.package()
            first = _USUAL_OPEN_UPLOADS if package.type == "upload" else None
            with open_scheduler(settings, retrier, observer, network_limit(settings), first=first) as scheduler:
                yield Session(
                    settings=settings,
                    keys=keys,
                    well_known=well_known,
                    package=package,
                    packages=packages,
                    caller=caller,
                    objects=HttpObjectClient(http),
                    scheduler=scheduler,
                    run=RunContext(threads=threads, observer=observer, part_size=settings.part_size),
                    state=StateFolder.of(state_folder),
                )
