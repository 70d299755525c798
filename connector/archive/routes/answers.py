"""What all routes share: reading tokens and bodies, responses and errors."""

from __future__ import annotations

import json
import logging
from typing import Any, TypeVar
from uuid import UUID

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from connector.archive.errors import ApiError, InvalidRequest
from connector.errors import BrokenError
from connector.transfer.reporting import as_connector_error, is_bug
from connector.wire.payloads import UploadCompletion, read_payload, write_payload
from persistence.errors import Conflict, CredentialsRefused, StorageFull, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

WORK_PACKAGES_PATH = "/wps"
"""Where the work package API is mounted."""
NO_ROOM = "The archive has no room left."
EXHAUSTED = (OSError, MemoryError, RuntimeError, UnicodeEncodeError)
"""What a host raises that lacks a working disk, memory, threads, or characters in its file names."""
_MAX_BODY = 1 << 16
"""Bytes of a JSON body: an alias of 1,024 letters takes up to 12 KB."""
_MAX_COMPLETION = 2 * 1024**2
"""Bytes of one that closes an upload, of which 10,000 parts take 1.1 MB."""


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header, if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def read_body(request: Request, kind: type[T]) -> T:
    """Return the request's JSON body as one of the contract's payloads.

    Raises:
        InvalidRequest: It is too large, incomplete, or not such a payload.
    """
    most = _MAX_COMPLETION if kind is UploadCompletion else _MAX_BODY
    too_large = InvalidRequest(f"The body has more than {most} bytes.", "body")
    if announced_length(request) > most:
        raise too_large
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise too_large
        return read_payload(json.loads(body), kind)
    except (ValueError, RecursionError, BrokenError, ClientDisconnect) as error:
        names = ", ".join(field.name for field in attrs.fields(kind))  # type: ignore[arg-type]
        raise InvalidRequest(f"The body must be a JSON object with the fields {names}.", "body") from error


def announced_length(request: Request) -> int:
    """The bytes of the request's body as its head says; 0 if it does not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def read_number(text: str, *, name: str, least: int, most: int | None = None) -> int:
    """Read a whole number of a path or query; raises `ValueError` if it is none or out of bounds."""
    digits = text.removeprefix("-")
    number = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bounds}, not {text[:40]!r}.")
    return number


def read_id(request: Request, name: str) -> str:
    """Read an id of the path; raises `InvalidRequest` unless it is a UUID."""
    text = request.path_params[name]
    try:
        return str(UUID(text))
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a UUID, not {text[:40]!r}.", "path", name) from error


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    """A payload, or anything JSON can hold, as a response."""
    return JSONResponse(write_payload(value), status_code=status, headers=headers)


async def health(request: Request) -> Response:
    """Report that the service is up."""
    return JSONResponse({"status": "OK"})


def error_answer(error: ApiError, *, plain: bool = False) -> Response:
    """An error in the form of the contract; with `plain` in `detail` alone."""
    headers = {"Cache-Control": "no-store"}
    body: dict[str, Any] = {"exception_id": error.exception_id, "description": error.message, "data": error.data}
    if isinstance(error, InvalidRequest):
        body = {"detail": [{"type": "value_error", "loc": list(error.where), "msg": error.message}]}
    elif plain or error.status == 401:
        body = {"detail": error.message}
    elif error.status == 403:
        body["detail"] = error.message
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status_code=error.status, headers=headers)


async def on_api_error(request: Request, error: Exception) -> Response:
    """Answer a refusal; those of work packages have the plain form."""
    assert isinstance(error, ApiError)
    return error_answer(error, plain=request.scope.get("root_path", "").endswith(WORK_PACKAGES_PATH))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer unknown paths and methods, which Starlette refuses."""
    assert isinstance(error, HTTPException)
    names = {404: "noSuchPath", 405: "methodNotAllowed"}
    body = {"exception_id": names.get(error.status_code, "badRequest"), "description": error.detail, "data": {}}
    return JSONResponse(body | {"detail": error.detail}, status_code=error.status_code, headers=error.headers)


async def on_persistence_error(request: Request, error: Exception) -> Response:
    """Answer a failure of storage or database: 503 unless it is a bug. Paths are only logged."""
    if isinstance(error, Unavailable | Conflict | CredentialsRefused):
        description = NO_ROOM if isinstance(error, StorageFull) else "The storage or the database does not answer."
        return _unavailable(request, error, description)
    return await on_unexpected_error(request, error)


async def on_local_error(request: Request, error: Exception) -> Response:
    """Answer that something is missing on this host that its operators can add, such as a new master key: 503."""
    return _unavailable(request, error, "The archive is being maintained.")


async def on_exhausted_machine(request: Request, error: Exception) -> Response:
    """Answer that this host lacks memory, threads, descriptors or a working disk: 503."""
    if is_bug(error):
        raise error
    return _unavailable(request, as_connector_error(error), "The archive has no resources left for this at the moment.")


def _unavailable(request: Request, error: Exception, description: str) -> Response:
    _log.error("%s %s failed: %s", request.method, request.scope["path"], error)
    body = {"exception_id": "unavailable", "description": description, "data": {}}
    return JSONResponse(body, status_code=503, headers={"Retry-After": "5"})


async def on_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer a bug; its details are only logged."""
    _log.error(
        "%s %s failed: %s: %s", request.method, request.scope["path"], type(error).__name__, error, exc_info=error
    )
    body = {"exception_id": "internalError", "description": "An internal error has occurred.", "data": {}}
    return JSONResponse(body, status_code=500)
