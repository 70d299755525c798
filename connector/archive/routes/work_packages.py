"""Routes of the work package API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.archive.models import WorkPackage
from connector.archive.routes.answers import bearer_token, health, json_answer, read_body
from connector.archive.work_packages import WorkPackageService
from connector.core.payloads import WorkOrderRequest


def work_package_routes(service: WorkPackageService) -> list[Route]:
    """The routes below ``/wps``."""

    async def get_package(request: Request) -> Response:
        package = await service.get(request.path_params["package_id"], bearer_token(request))
        return json_answer(_present(package), headers={"Cache-Control": "no-store"})

    async def order_download(request: Request) -> Response:
        path = request.path_params
        sealed = await service.order_download(path["package_id"], bearer_token(request), path["accession"])
        return JSONResponse(
            sealed, status_code=201, headers={"Cache-Control": f"max-age={service.token_lifetime}, private"}
        )

    async def order_upload(request: Request) -> Response:
        path = request.path_params
        # The token is looked at first: a stranger is not told what is wrong with a body.
        await service.get(path["package_id"], bearer_token(request))
        wanted = await read_body(request, WorkOrderRequest)
        sealed = await service.order_upload(path["package_id"], bearer_token(request), path["rdub_id"], wanted)
        return JSONResponse(sealed, status_code=201)

    package = "/work-packages/{package_id}"
    return [
        Route("/health", health),
        Route(package, get_package),
        Route(package + "/files/{accession}/work-order-tokens", order_download, methods=["POST"]),
        Route(package + "/boxes/{rdub_id}/work-order-tokens", order_upload, methods=["POST"]),
    ]


def _present(package: WorkPackage) -> dict[str, object]:
    return {
        "type": package.type,
        "files": package.files,
        "research_data_upload_box_id": package.rdub_id,
        "file_upload_box_id": package.box_id,
        "created": package.created.isoformat(),
        "expires": package.expires.isoformat(),
    }
