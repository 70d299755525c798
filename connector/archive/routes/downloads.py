"""Routes of the download API (GA4GH DRS)."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from connector.archive.download_controller import DownloadController
from connector.archive.errors import WrongFileAuthorization
from connector.archive.routes.answers import bearer_token, health, json_answer
from connector.archive.tokens import WorkOrder
from connector.archive.work_packages import WorkPackageService

DRS_PATH = "/ga4gh/drs/v1"
"""The path of the standard: a `drs://HOST/ID` URI stands for `https://HOST/ga4gh/drs/v1/objects/ID`."""
_SERVICE_INFO = {
    "id": "connector.archive.drs",
    "name": "Embedded archive",
    "type": {"group": "org.ga4gh", "artifact": "drs", "version": "1.4.0"},
    "organization": {"name": "Embedded archive", "url": "https://www.ga4gh.org"},
    "version": "1.0.0",
    "maxBulkRequestLength": 1,
}


def download_routes(controller: DownloadController, packages: WorkPackageService) -> list[BaseRoute]:
    """The routes below `/dcs`: the service's own, and those of the standard."""
    drs = drs_routes(controller, packages)
    return [Route("/health", health), *drs, Mount(DRS_PATH, routes=drs)]


def drs_routes(controller: DownloadController, packages: WorkPackageService) -> list[BaseRoute]:
    """The routes of the DRS standard, and that of envelopes."""

    async def authorise(request: Request) -> tuple[WorkOrder, str]:
        order = await packages.verify(bearer_token(request), "download")
        accession = str(request.path_params["accession"])
        if order.accession != accession:
            raise WrongFileAuthorization("The work order token is for another file.")
        return order, accession

    async def get_object(request: Request) -> Response:
        _, accession = await authorise(request)
        drs_object = await controller.get_object(accession, host=request.headers.get("host", ""))
        if isinstance(drs_object, int):
            headers = {"Retry-After": str(drs_object), "Cache-Control": "no-store"}
            return json_answer(None, status=202, headers=headers)
        return json_answer(
            drs_object, headers={"Cache-Control": f"max-age={controller.settings.url_lifetime}, private"}
        )

    async def get_envelope(request: Request) -> Response:
        order, accession = await authorise(request)
        envelope = await controller.make_header(accession, order.user_public_key)
        return JSONResponse(base64.b64encode(envelope).decode("ascii"), headers={"Cache-Control": "no-store"})

    async def service_info(request: Request) -> Response:
        return JSONResponse(_SERVICE_INFO)

    return [
        Route("/service-info", service_info),
        Route("/objects/{accession}", get_object),
        Route("/objects/{accession}/envelopes", get_envelope),
    ]
