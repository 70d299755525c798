"""All APIs of an archive as one ASGI application."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from connector.archive.assembly import STORAGE_PATH, Archive
from connector.archive.errors import ApiError
from connector.archive.request_guard import AsgiApp
from connector.archive.routes.answers import (
    EXHAUSTED,
    WORK_PACKAGES_PATH,
    on_api_error,
    on_exhausted_machine,
    on_http_error,
    on_local_error,
    on_persistence_error,
    on_unexpected_error,
)
from connector.archive.routes.downloads import DRS_PATH, download_routes, drs_routes
from connector.archive.routes.storage import StorageApp
from connector.archive.routes.uploads import upload_routes
from connector.archive.routes.wkvs import wkvs_routes
from connector.archive.routes.work_packages import work_package_routes
from connector.errors import LocalError
from persistence.errors import PersistenceError
from persistence.objects.filesystem import FilesystemStorage

WELL_KNOWN_PATH = "/.well-known"
SERVICES = ("wkvs", "wps", "ucs", "dcs")
"""Well-known values, work packages, the upload controller, the download controller."""


def make_app(archive: Archive, base_url: str, services: Collection[str] = SERVICES) -> AsgiApp:
    """The application that serves `archive` under `base_url`.

    Args:
        archive: The archive.
        base_url: The URL under which clients reach all its services.
        services: Those of `SERVICES` that this application has.
    """
    routes = {
        "wkvs": [Mount(WELL_KNOWN_PATH, routes=wkvs_routes(archive.hubs, base_url))],
        "wps": [Mount(WORK_PACKAGES_PATH, routes=work_package_routes(archive.work_packages))],
        "ucs": [Mount("/ucs", routes=upload_routes(archive.uploads, archive.work_packages, archive.hubs))],
        "dcs": [
            Mount("/dcs", routes=download_routes(archive.downloads, archive.work_packages)),
            Mount(DRS_PATH, routes=drs_routes(archive.downloads, archive.work_packages)),
        ],
    }
    apis = Starlette(
        routes=[route for service in services for route in routes[service]],
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_error,
            LocalError: on_local_error,
            PersistenceError: on_persistence_error,
            **dict.fromkeys(EXHAUSTED, on_exhausted_machine),
            Exception: on_unexpected_error,
        },
    )
    # Other storages serve their presigned URLs themselves.
    storages = [
        StorageApp(hub.storage, hub.storage.signing.base_url.removeprefix(base_url), archive.keys.refresh)
        for hub in archive.hubs
        if isinstance(hub.storage, FilesystemStorage) and not {"ucs", "dcs"}.isdisjoint(services)
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Without Starlette, whose layers handle every message of a body.
        if scope["type"] == "http" and scope["path"].startswith(f"{STORAGE_PATH}/"):
            for storage in storages:
                if storage.serves(scope["path"]):
                    return await storage(scope, receive, send)
        await apis(scope, receive, send)

    return app
