"""Routes of the download API (GA4GH DRS)."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.archive.download_controller import DownloadController
from connector.archive.errors import WrongFileAuthorization
from connector.archive.routes.answers import bearer_token, health, json_answer
from connector.archive.tokens import TokenMint, WorkOrder


def download_routes(controller: DownloadController, mint: TokenMint) -> list[Route]:
    """The routes below ``/dcs``; also with the prefix of the DRS standard."""

    def authorise(request: Request) -> WorkOrder:
        order = mint.verify(bearer_token(request), "download")
        if order.accession != request.path_params["accession"]:
            raise WrongFileAuthorization("The work order token is for another file.")
        return order

    async def get_object(request: Request) -> Response:
        order = authorise(request)
        assert order.accession is not None
        drs_object = await controller.get_object(order.accession, host=request.url.netloc)
        if isinstance(drs_object, int):
            headers = {"Retry-After": str(drs_object), "Cache-Control": "no-store"}
            return json_answer(None, status=202, headers=headers)
        return json_answer(drs_object, headers={"Cache-Control": f"max-age={controller.url_lifetime}, private"})

    async def get_envelope(request: Request) -> Response:
        order = authorise(request)
        assert order.accession is not None
        envelope = await controller.make_envelope(order.accession, order.user_public_key)
        return JSONResponse(base64.b64encode(envelope).decode("ascii"), headers={"Cache-Control": "no-store"})

    routes = [
        Route("/objects/{accession}", get_object),
        Route("/objects/{accession}/envelopes", get_envelope),
    ]
    standard = [Route(f"/ga4gh/drs/v1{route.path}", route.endpoint) for route in routes]
    return [Route("/health", health), *routes, *standard]
