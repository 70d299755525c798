"""Opening a session: HTTP, well-known values, the work package, threads and scheduler, put together."""

from __future__ import annotations

import random
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from connector.clients.api_client import ApiClient
from connector.clients.api_transport import ApiTransport
from connector.clients.objects import HttpObjectClient
from connector.clients.well_known import WellKnown
from connector.clients.work_packages import AccessToken, WorkPackageClient
from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.errors import ConnectorError, UsageError
from connector.http import AddressPolicy, HttpClient, HttpOptions
from connector.local.state_folder import StateFolder
from connector.session.session import Session
from connector.transfer import (
    BufferPool,
    ConcurrencyLimit,
    GuardedObserver,
    Observer,
    Retrier,
    RunContext,
    Scheduler,
    SilentObserver,
    check_in_trio,
    make_threads,
    run_concurrently,
)
from connector.wire.payloads import WorkPackage

if TYPE_CHECKING:
    import httpx
    import trio

    from connector.clients.downloads import DownloadClient
    from connector.clients.objects import ObjectClient
    from connector.clients.uploads import UploadClient

_TOKENS_AHEAD = 8
"""Tokens that are requested together with the work package: further ones while the first files move."""
_CONNECTIONS = 96
"""Two for each file that is opened at once: address and header of small files far away are requested together."""
_USUAL_OPEN_UPLOADS = 5
"""The default of archives; more is tried soon."""
_MAXIMUM = 32
"""Enough for 320 MB/s with 10 per connection; parts of the default size are bounded by the memory first."""
_INITIAL = 4
_FAR = 600
"""Parts of the slow start, times the square of the round trip in seconds: far away each connection is slower, and the
search takes longer. Of smaller parts, more, with as many bytes."""
_MINIMUM = 2
"""However many requests are refused: one stalled connection must not block everything."""


@attrs.frozen(kw_only=True)
class Components:
    """Replacements for the parts of a session; each that is `None` is created from the settings.

    `api` sends the calls of the archive's APIs; `objects` moves bytes from and to presigned URLs; `packages`,
    `downloads` and `uploads` are the clients of the three services; `retrier` is the retry loop;
    `address_policy` tells which addresses may be connected to; `threads` bounds the threads for blocking work;
    `uniform` draws from [0, 1). The clock is that of trio: `trio.run(..., clock=...)`.
    """

    api: httpx.AsyncClient | None = None
    objects: ObjectClient | None = None
    packages: WorkPackageClient | None = None
    downloads: DownloadClient | None = None
    uploads: UploadClient | None = None
    retrier: Retrier | None = None
    address_policy: AddressPolicy | None = None
    threads: trio.CapacityLimiter | None = None
    uniform: Callable[[], float] = random.random


@asynccontextmanager
async def open_session(
    settings: Settings,
    keys: KeyPair,
    token: AccessToken,
    *,
    observer: Observer | None = None,
    state_folder: Path | None = None,
    components: Components | None = None,
    accessions: Sequence[str] | None = None,
) -> AsyncIterator[Session]:
    """Connect to the archive at `settings.wkvs_url` and open the work package of `token`.

    The journals of unfinished uploads and the records of finished files are kept in `state_folder` (see `StateFolder`);
    `components` replace parts of the session. `accessions`: the files to download if they are known already, empty for
    all; their tokens are requested together with the work package, and connections opened that they will need.

    Raises:
        ConnectorError: Of one of the five families, see `connector.errors`.
    """
    check_in_trio(
        "connector.open_session", "under asyncio use: await connector.download_files_async(...), or upload_files_async"
    )
    if settings.wkvs_url is None:
        raise UsageError(
            "The archive's address is not known.",
            hint="Give --wkvs-url or set CONNECTOR_WKVS_URL, or put it into the configuration file.",
        )
    parts = components or Components()
    observer = GuardedObserver.of(observer or SilentObserver())
    options = HttpOptions(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_connections=max(_CONNECTIONS, settings.max_concurrency or 0),
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        proxies=urllib.request.getproxies(),
        address_policy=parts.address_policy or AddressPolicy.of(settings.wkvs_url),
    )
    retrier = parts.retrier or Retrier(attempts=settings.retries + 1)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aclosing(HttpClient(options)))
        transport = ApiTransport(parts.api or http.api, deadline=settings.read_timeout)
        well_known = WellKnown(ApiClient(transport, retrier, observer), settings.wkvs_url)
        api = ApiClient(transport, retrier, observer, refresh=well_known.refresh)
        packages = parts.packages or WorkPackageClient(api, lambda: well_known.values.wps_api_url, token, keys)

        async def connect_ahead() -> None:
            await well_known.refresh()
            values, down = well_known.values, accessions is not None
            # Address and header of a file are requested at once; an upload begins with one request.
            await http.connect_ahead(values.dcs_api_url if down else values.ucs_api_url, 2 if down else 1)

        tokens = [partial(_fetch_token, packages, accession) for accession in (accessions or ())[:_TOKENS_AHEAD]]
        is_ours = parts.api is None and parts.packages is None
        opened = await run_concurrently(packages.package, *tokens, *([connect_ahead] if is_ours else []))
        package: WorkPackage = opened[0]
        scheduler = Scheduler(
            pool=BufferPool(settings.memory),
            limit=network_limit(settings, http.round_trip),
            retrier=retrier,
            observer=observer,
            first=_USUAL_OPEN_UPLOADS if package.type == "upload" else None,
            round_trip=lambda: http.round_trip,
        )
        stack.callback(scheduler.close)
        yield Session(
            settings=settings,
            keys=keys,
            well_known=well_known,
            package=package,
            packages=packages,
            api=api,
            objects=parts.objects or HttpObjectClient(http),
            downloads=parts.downloads,
            uploads=parts.uploads,
            scheduler=scheduler,
            run=RunContext(
                threads=parts.threads or make_threads(),
                observer=observer,
                part_size=settings.part_size,
                uniform=parts.uniform,
            ),
            state=StateFolder(state_folder),
        )


def network_limit(settings: Settings, round_trip: float) -> ConcurrencyLimit:
    """A limit that adapts to line and archive, within the memory for buffers, or the one of the settings.

    `round_trip` of the line in seconds: at 0.1 s and more a slow start leads higher.
    """
    if settings.max_concurrency is not None:
        return ConcurrencyLimit.fixed(settings.max_concurrency)
    most = max(_INITIAL, min(_MAXIMUM, settings.memory // settings.part_size))
    first = min(int(_FAR * round_trip**2), most)
    threshold = first * settings.part_size if first > _INITIAL else 0
    return ConcurrencyLimit(minimum=_MINIMUM, maximum=most, limit=_INITIAL, threshold=threshold)


async def _fetch_token(packages: WorkPackageClient, accession: str) -> None:
    """Fetch the token of a file into the cache; what goes wrong is reported by its download."""
    with suppress(ConnectorError):
        await packages.download_token(accession).get()
