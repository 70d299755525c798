"""Routes of the upload API."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.archive.errors import Forbidden, InvalidRequest, PaginationError
from connector.archive.hubs import Hubs
from connector.archive.models import FileUpload, PartDigests
from connector.archive.routes.answers import bearer_token, health, json_answer, read_body, read_id, read_number
from connector.archive.tokens import WorkOrder
from connector.archive.upload_controller import UploadController
from connector.archive.work_packages import WorkPackageService
from connector.parts import S3_MAX_PARTS
from connector.wire.payloads import CreatedUpload, UploadCompletion, UploadCreation, WorkType
from persistence.documents import Sort

_PAGE = 10
_LARGEST_PAGE = 1000
_SORT_FIELDS = {
    name: name
    for name in ("id", "alias", "state", "state_updated", "decrypted_size", "encrypted_size", "part_size", "completed")
} | {"initiated": "created"}
"""The fields by which a listing may be sorted, and their names in the documents."""
_LISTED_IDS = ("id", "box_id", "alias", "state", "storage_alias", "secret_id", "accession")
_LISTED_FIELDS = (*_LISTED_IDS, "decrypted_size", "encrypted_size", "part_size", "decrypted_sha256")
"""Fields of the documents that listings contain as they are."""
_MD5_DIGITS, _SHA256_DIGITS = 32, 64
_PERMANENT_STATES = ("interrogated", "awaiting_archival", "archived")


def upload_routes(controller: UploadController, packages: WorkPackageService, hubs: Hubs) -> list[Route]:
    """The routes below `/ucs`."""

    async def authorise(request: Request, work_type: WorkType) -> tuple[WorkOrder, str, str]:
        """The request's work order, if it is for the box and the file of the path, and the ids of both."""
        order = await packages.verify(bearer_token(request), work_type)
        box_id = read_id(request, "box_id")
        if order.box_id != box_id:
            raise Forbidden("The work order token is for another box.")
        file_id = read_id(request, "file_id") if "file_id" in request.path_params else ""
        if file_id and order.file_id != file_id:
            raise Forbidden("The work order token is for another file.")
        return order, box_id, file_id

    async def list_uploads(request: Request) -> Response:
        _, box_id, _ = await authorise(request, "view")
        query = request.query_params
        try:
            skip = read_number(query.get("skip", "0"), name="skip", least=0)
            limit = read_number(query.get("limit", str(_PAGE)), name="limit", least=0, most=_LARGEST_PAGE)
            sort = read_sort(query.getlist("sort") or ["alias"])
        except ValueError as error:
            raise PaginationError(str(error)) from error
        with_checksums = query.get("with_checksums", "false").lower() in ("true", "1", "yes", "on")
        uploads, total = await controller.list_uploads(box_id, skip=skip, limit=limit, sort=sort)
        digests = await controller.part_digests(uploads) if with_checksums else {}
        items = [present_upload(upload, hubs, digests.get(upload.id)) for upload in uploads]
        return json_answer({"items": items, "total_count": total})

    async def create(request: Request) -> Response:
        order, box_id, _ = await authorise(request, "create")
        wanted = await read_body(request, UploadCreation)
        if order.alias != wanted.alias:
            raise Forbidden("The work order token is for another alias.")
        upload = await controller.create(box_id, wanted)
        created = CreatedUpload(upload.id, upload.alias, upload.storage_alias)  # type: ignore[arg-type]
        return json_answer(created, status=201)

    async def part_url(request: Request) -> Response:
        _, box_id, file_id = await authorise(request, "upload")
        try:
            number = read_number(request.path_params["number"], name="part number", least=1, most=S3_MAX_PARTS)
        except ValueError as error:
            raise InvalidRequest(str(error), "path", "part_no") from error
        url = await controller.part_url(box_id, file_id, number)
        return JSONResponse(url, headers={"Cache-Control": "no-store"})

    async def close(request: Request) -> Response:
        _, box_id, file_id = await authorise(request, "close")
        await controller.close(box_id, file_id, await read_body(request, UploadCompletion))
        return Response(status_code=204)

    async def cancel(request: Request) -> Response:
        _, box_id, file_id = await authorise(request, "delete")
        await controller.cancel(box_id, file_id)
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


def read_sort(names: Sequence[str]) -> Sort:
    """Read the sort order of a query: fields of the listing, descending after a hyphen. Raises `ValueError`."""
    sort: list[tuple[str, int]] = []
    for name in names:
        field = _SORT_FIELDS.get(name.removeprefix("-"))
        if field is None:
            raise ValueError(f"A listing cannot be sorted by {name[:40]!r}, only by {', '.join(sorted(_SORT_FIELDS))}.")
        if field in (known for known, _ in sort):
            raise ValueError(f"A listing is sorted by {name.removeprefix('-')!r} once.")
        sort.append((field, -1 if name.startswith("-") else 1))
    return sort


def present_upload(upload: FileUpload, hubs: Hubs, digests: PartDigests | None) -> dict[str, object]:
    """An upload in the form of listings, with more than the contract asks for; with the digests of its parts or not."""
    hub = hubs.get(upload.storage_alias) if upload.storage_alias in hubs else None
    permanent = upload.state in _PERMANENT_STATES
    return {
        **{name: getattr(upload, name) for name in _LISTED_FIELDS},
        "state_updated": upload.state_updated.isoformat(),
        "bucket_id": (hub.buckets.permanent if permanent else hub.buckets.inbox) if hub is not None else None,
        "object_id": (upload.object_id if permanent else None) or upload.id,
        "s3_upload_id": upload.upload_id,
        "encrypted_parts_md5": _split(digests.md5, _MD5_DIGITS) if digests is not None else None,
        "encrypted_parts_sha256": _split(digests.sha256, _SHA256_DIGITS) if digests is not None else None,
        "initiated": upload.created.isoformat(),
        "completed": upload.completed.isoformat() if upload.completed else None,
        "failure_reason": upload.failure,
    }


def _split(digests: str, digits: int) -> list[str]:
    return [digests[start : start + digits] for start in range(0, len(digests), digits)]
