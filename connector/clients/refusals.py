"""Translates responses of unexpected status into errors of the right family, with advice for the retry loop."""

from __future__ import annotations

import re
from collections.abc import Mapping

from connector.clients.api_transport import ApiReply
from connector.errors import NO_RETRY, RETRY, BrokenError, ConnectorError, RefusedError, RetryPolicy
from connector.transfer import OverloadedError, TooManyOpenTransfersError
from connector.wire.lifetimes import retry_after
from connector.wire.payloads import ErrorBody, parse_json, read_payload

_AGAIN = "Run the same command again to send the file again."
_HINTS = {
    "noSuchStorage": "Tell the archive's operators: the storage is not set up.",
    "checksumMismatch": f"{_AGAIN} If that does not help, have this machine's memory and network checked.",
    "invalidPartSize": "Choose another --part-size.",
    "uploadSizeMismatch": _AGAIN,
    "boxNotFound": "Ask for a new access token.",
    "fileUploadNotFound": f"The upload was deleted or replaced in the archive. {_AGAIN}",
    "s3UploadNotFound": f"The storage has aborted the upload. {_AGAIN}",
    "uploadCompletionError": f"The storage cannot assemble the parts. {_AGAIN}",
    "boxStateError": "The box is locked or archived: ask the archive's data stewards to open it, then run the same"
    " command again.",
    "fileUploadAlreadyExists": "Choose another --alias, or see what is in the box: connector ls",
    "fileUploadStateError": f"The upload has failed in the archive or was cancelled there. {_AGAIN}",
    "orphanedMultipartUpload": f"{_AGAIN} If that does not help, tell the archive's operators.",
    "boxVersionOutdated": f"The box changed at the same moment. {_AGAIN}",
    "boxMaxSizeExceeded": "Ask the archive's data stewards for a larger box, then run the same command again.",
    "wrongFileAuthorizationError": "Ask for a work package that includes this file.",
    "noSuchObject": "Check the accession; ask for a work package that includes this file.",
}
_FINAL = frozenset({"uploadCompletionError", "uploadAbortError"})
"""Errors of an upload, not of the archive itself, that an archive reports with 500."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


class TokenRefusedError(RefusedError):
    """A token was rejected (401): a retry with the same token will not succeed, one with another may."""


def error_from_response(
    reply: ApiReply, action: str, *, hints: Mapping[str, str] = _HINTS, see: str = ""
) -> ConnectorError:
    """The error for `reply`, whose status `action` (an infinitive: "list the box") does not expect.

    `hints` are those of this action by `exception_id` or status; `see` is added to the hint of any refusal.
    """
    status, body = reply.status, _error_body(reply)
    hint = hints.get(body.exception_id) or hints.get(str(status)) or _HINTS.get(body.exception_id, "")
    description = f": {body.description}" if body.description else f" {body.exception_id}".rstrip()
    message = f"Could not {action}: the archive answered {status}{description}".rstrip(".") + "."
    wait = retry_after(reply.headers, reply.received)
    if status == 401:
        return TokenRefusedError(
            message,
            hint=f"Ask for a new access token; if that is refused too, tell the archive's operators. {see}".rstrip(),
            status=status,
            exception_id=body.exception_id,
        )
    if body.exception_id == "tooManyOpenUploads":
        return TooManyOpenTransfersError(
            message,
            hint="Others are being uploaded into this box. See which, and delete abandoned ones:"
            " connector status --in-box; connector discard --in-box NAME.",
            status=status,
            exception_id=body.exception_id,
        )
    if status in (408, 425, 429, 502, 503, 504):
        return OverloadedError(
            message,
            hint="The archive is busy or down; try again later.",
            advice=RetryPolicy(again=True, after=wait or None),
        )
    if status >= 500 and status != 507 and body.exception_id not in _FINAL:
        # Concurrent calls about one box collide in some archives: the next one succeeds.
        collided = body.exception_id == "internalError" and wait is None
        advice = (
            RetryPolicy(again=True, after=0.0, expected=True)
            if collided
            else RetryPolicy(again=True, after=wait or None)
        )
        return BrokenError(message, hint=hint or "The archive has a problem; try again later.", advice=advice)
    if 300 <= status < 400:
        return BrokenError(message, hint="Redirects are not followed; check the archive's address.")
    return RefusedError(
        message,
        hint=f"{hint or _general_hint(status)} {see}".strip(),
        advice=RETRY if body.exception_id in ("boxVersionOutdated", "uploadAbortError") else NO_RETRY,
        status=status,
        exception_id=body.exception_id,
    )


def _general_hint(status: int) -> str:
    if status == 403:
        return "Check that token and key belong together and have not expired, or ask for a new access token."
    if status == 404:
        return "Check what you asked for and the archive's address."
    if status == 422:
        return "The archive does not take these values: check the file's size, its alias and --part-size."
    return ""


def _error_body(reply: ApiReply) -> ErrorBody:
    """The error body of a response, made safe for a terminal; empty if it does not follow the contract.

    Some layers of an archive (its web framework, its gateway) send `detail` instead of a description: a text, or a list
    of faults of the request.
    """
    try:
        data = parse_json(reply.body[:65_536])
        body = read_payload(data, ErrorBody)
    except ConnectorError:
        return ErrorBody()
    detail = data.get("detail") if isinstance(data, dict) else None
    if isinstance(detail, list):
        detail = "; ".join(str(fault["msg"]) for fault in detail[:3] if isinstance(fault, dict) and "msg" in fault)
    description = body.description or (detail if isinstance(detail, str) else "")
    return ErrorBody(
        exception_id=_CONTROL.sub(" ", body.exception_id)[:80], description=_CONTROL.sub(" ", description)[:300]
    )
