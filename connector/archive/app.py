"""All APIs of an archive as one ASGI application."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from connector.archive.assembly import Archive
from connector.archive.errors import ApiError
from connector.archive.request_guard import AsgiApp
from connector.archive.routes.answers import (
    WORK_PACKAGES_PATH,
    on_api_error,
    on_http_error,
    on_persistence_error,
    on_unexpected_error,
)
from connector.archive.routes.downloads import DRS_PATH, download_routes, drs_routes
from connector.archive.routes.storage import StorageApp
from connector.archive.routes.uploads import upload_routes
from connector.archive.routes.wkvs import wkvs_routes
from connector.archive.routes.work_packages import work_package_routes
from persistence.errors import PersistenceError
from persistence.objects.filesystem import FilesystemStorage

STORAGE_PATH = "/storage"
WELL_KNOWN_PATH = "/.well-known"


def make_app(archive: Archive, base_url: str) -> AsgiApp:
    """The application that serves `archive` under `base_url`."""
    routes = [
        Mount(WORK_PACKAGES_PATH, routes=work_package_routes(archive.work_packages)),
        Mount("/ucs", routes=upload_routes(archive.uploads, archive.tokens)),
        Mount("/dcs", routes=download_routes(archive.downloads, archive.tokens)),
        Mount(DRS_PATH, routes=drs_routes(archive.downloads, archive.tokens)),
        Mount(WELL_KNOWN_PATH, routes=wkvs_routes(archive.settings.storage_alias, archive.keys.hub_public, base_url)),
    ]
    apis = Starlette(
        routes=routes,
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_error,
            PersistenceError: on_persistence_error,
            Exception: on_unexpected_error,
        },
    )
    # Other storages serve their presigned URLs themselves.
    storage = StorageApp(archive.storage) if isinstance(archive.storage, FilesystemStorage) else None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Without Starlette, whose layers handle every message of a body.
        is_storage = scope["type"] == "http" and scope["path"].startswith(f"{STORAGE_PATH}/")
        await (storage if storage is not None and is_storage else apis)(scope, receive, send)

    return app
