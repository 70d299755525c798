"""Routes of the work package API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.archive.errors import Unauthenticated
from connector.archive.models import WorkPackage
from connector.archive.routes.answers import bearer_token, health, json_answer, read_body, read_id
from connector.archive.work_packages import WorkPackageService
from connector.wire.payloads import WorkOrderRequest


def work_package_routes(service: WorkPackageService) -> list[Route]:
    """The routes below ``/wps``."""

    async def find_package(request: Request) -> tuple[WorkPackage, str]:
        """The package that the path names, and the access token that opens it.

        The token is looked at first: a stranger is not told what is wrong with a body.
        """
        token = bearer_token(request)
        if token is None:
            raise Unauthenticated("An access token is needed.")
        return await service.get(read_id(request, "package_id"), token), token

    async def get_package(request: Request) -> Response:
        package, _ = await find_package(request)
        return json_answer(_present(package), headers={"Cache-Control": "no-store"})

    async def order_download(request: Request) -> Response:
        package, token = await find_package(request)
        return answer(await service.order_download(package.id, token, request.path_params["accession"]))

    async def order_upload(request: Request) -> Response:
        package, token = await find_package(request)
        rdub_id = read_id(request, "rdub_id")
        wanted = await read_body(request, WorkOrderRequest)
        return answer(await service.order_upload(package.id, token, rdub_id, wanted))

    def answer(sealed: str) -> Response:
        headers = {"Cache-Control": f"max-age={service.token_lifetime}, private"}
        return JSONResponse(sealed, status_code=201, headers=headers)

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
        "files": package.files or {},
        "research_data_upload_box_id": package.rdub_id,
        "file_upload_box_id": package.box_id,
        "created": package.created.isoformat(),
        "expires": package.expires.isoformat(),
    }
