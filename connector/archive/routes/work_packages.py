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
    """The routes below `/wps`."""

    async def find_package(request: Request) -> WorkPackage:
        """The package that the path names, if the request's access token opens it.

        The token comes first: without one the response tells nothing about the path or the body.
        """
        token = bearer_token(request)
        if token is None:
            raise Unauthenticated("An access token is needed.")
        return await service.get(read_id(request, "package_id"), token)

    async def get_package(request: Request) -> Response:
        return json_answer(_present(await find_package(request)), headers={"Cache-Control": "no-store"})

    async def issue_download_token(request: Request) -> Response:
        package = await find_package(request)
        return answer(await service.issue_download_token(package, request.path_params["accession"]))

    async def issue_upload_token(request: Request) -> Response:
        package = await find_package(request)
        rdub_id = read_id(request, "rdub_id")
        return answer(await service.issue_upload_token(package, rdub_id, await read_body(request, WorkOrderRequest)))

    def answer(sealed: str) -> Response:
        headers = {"Cache-Control": f"max-age={service.tokens.lifetime}, private"}
        return JSONResponse(sealed, status_code=201, headers=headers)

    package = "/work-packages/{package_id}"
    return [
        Route("/health", health),
        Route(package, get_package),
        Route(package + "/files/{accession}/work-order-tokens", issue_download_token, methods=["POST"]),
        Route(package + "/boxes/{rdub_id}/work-order-tokens", issue_upload_token, methods=["POST"]),
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
