"""Routes of the upload API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.archive.errors import Forbidden
from connector.archive.models import FileUpload
from connector.archive.routes.answers import bearer_token, health, json_answer, read_body, read_number
from connector.archive.tokens import TokenMint, WorkOrder
from connector.archive.upload_controller import UploadController
from connector.core.layout import MAX_PARTS
from connector.core.payloads import CreatedUpload, UploadCompletion, UploadCreation, WorkType

_PAGE = 10
_LARGEST_PAGE = 1000


def upload_routes(controller: UploadController, mint: TokenMint) -> list[Route]:
    """The routes below ``/ucs``."""

    def authorise(request: Request, work_type: WorkType) -> WorkOrder:
        """The request's work order, if it is for this box and, where the path names one, for this file."""
        order = mint.verify(bearer_token(request), work_type)
        if order.box_id != request.path_params["box_id"]:
            raise Forbidden("The work order token is for another box.")
        if order.file_id != request.path_params.get("file_id"):
            raise Forbidden("The work order token is for another file.")
        return order

    async def list_uploads(request: Request) -> Response:
        authorise(request, "view")
        skip = read_number(request.query_params.get("skip"), name="skip", default=0, least=0)
        limit = read_number(request.query_params.get("limit"), name="limit", default=_PAGE, least=1, most=_LARGEST_PAGE)
        items, total = await controller.list_uploads(request.path_params["box_id"], skip=skip, limit=limit)
        return json_answer({"items": [present_upload(item) for item in items], "total_count": total})

    async def create(request: Request) -> Response:
        order = authorise(request, "create")
        wanted = await read_body(request, UploadCreation)
        if order.alias != wanted.alias:
            raise Forbidden("The work order token is for another alias.")
        upload = await controller.create(request.path_params["box_id"], wanted)
        created = CreatedUpload(upload.id, upload.alias, upload.storage_alias)  # type: ignore[arg-type]
        return json_answer(created, status=201)

    async def part_url(request: Request) -> Response:
        authorise(request, "upload")
        path = request.path_params
        number = read_number(path["number"], name="part number", default=0, least=1, most=MAX_PARTS)
        url = await controller.part_url(path["box_id"], path["file_id"], number)
        return JSONResponse(url, headers={"Cache-Control": "no-store"})

    async def close(request: Request) -> Response:
        authorise(request, "close")
        path = request.path_params
        await controller.close(path["box_id"], path["file_id"], await read_body(request, UploadCompletion))
        return Response(status_code=204)

    async def cancel(request: Request) -> Response:
        authorise(request, "delete")
        await controller.cancel(request.path_params["box_id"], request.path_params["file_id"])
        return Response(status_code=204)

    uploads = "/boxes/{box_id}/uploads"
    return [
        Route("/health", health),
        Route(uploads + "/{file_id}/parts/{number}", part_url, methods=["GET"]),
        Route(uploads, list_uploads, methods=["GET"]),
        Route(uploads, create, methods=["POST"]),
        Route(uploads + "/{file_id}", close, methods=["PATCH"]),
        Route(uploads + "/{file_id}", cancel, methods=["DELETE"]),
    ]


def present_upload(upload: FileUpload) -> dict[str, object]:
    """An upload as listings show it; the contract's fields and some more."""
    return {
        "id": upload.id,
        "box_id": upload.box_id,
        "alias": upload.alias,
        "state": upload.state,
        "state_updated": upload.state_updated.isoformat(),
        "storage_alias": upload.storage_alias,
        "decrypted_size": upload.decrypted_size,
        "encrypted_size": upload.encrypted_size,
        "part_size": upload.part_size,
        "decrypted_sha256": upload.decrypted_sha256,
        "initiated": upload.created.isoformat(),
        "completed": upload.completed.isoformat() if upload.completed else None,
        "accession": upload.accession,
        "failure_reason": upload.failure,
    }
