"""Translates the errors of botocore into those of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from botocore import exceptions
from urllib3.exceptions import HTTPError, TimeoutError

from persistence import errors

_REFUSED: Final = "Check the credentials, and the clock of this machine: S3 refuses one that is off by 15 minutes."


@attrs.frozen
class Target:
    """The names of a call, for messages."""

    where: str
    bucket: str = ""
    object_id: str = ""
    upload_id: str = ""


def translated(error: Exception, target: Target) -> errors.PersistenceError:
    """The error of this package for an error of botocore, or for any other that its calls raise."""
    if isinstance(error, exceptions.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return from_code(code, str(error), target, status)
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError | TimeoutError):
        return errors.DeadlineExceeded(f"{target.where} did not answer in time.")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return errors.CredentialsRefused(f"There are no credentials for {target.where}.")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | HTTPError | OSError):
        hint = "Check its address and that it runs."
        return errors.Unreachable(f"{target.where} cannot be reached: {error}.", hint=hint)
    if isinstance(error, exceptions.ParamValidationError):
        return errors.ServiceRefused(f"The call of {target.where} is not possible: {error}.")
    return errors.ServiceFailed(f"The call of {target.where} failed: {error}.")


def from_code(code: str, text: str, target: Target, status: int = 0) -> errors.PersistenceError:
    """The error for an S3 error code.

    Args:
        code: one of S3's, or the status of a response without a body.
        text: what the server said.
        target: what was called.
        status: of the response, if the code is not one of an entry in it.
    """
    code = _SAME.get(code, code)
    status = int(code) if code.isdigit() else _STATUS.get(code, status)
    if code in _KNOWN or status in _KNOWN:
        return (_KNOWN.get(code) or _KNOWN[status])(target)
    if status in (401, 403):
        return errors.CredentialsRefused(f"{target.where} does not allow this: {text}.", hint=_REFUSED)
    if status == 507:
        return errors.StorageFull(f"{target.where} has no space left.", hint="Free some, then repeat the call.")
    if status == 408:
        return errors.DeadlineExceeded(f"{target.where} timed out: {text}.")
    if status == 501:
        return errors.NotSupported(f"{target.where} does not support this call: {text}.")
    if status >= 500:
        return errors.ServiceFailed(f"{target.where} cannot do this now: {text}.", hint="Try again.")
    return errors.ServiceRefused(f"{target.where} refused the call: {text}.")


def _not_found(target: Target) -> errors.PersistenceError:
    if target.upload_id:
        # Ceph's answer for an upload that does not exist.
        return errors.UploadNotFound(target.bucket, target.object_id, target.upload_id)
    if target.object_id:
        return errors.ObjectNotFound(target.bucket, target.object_id)
    return errors.BucketNotFound(target.bucket)


_SAME: Final = {
    "NotFound": "NoSuchKey", "404": "NoSuchKey", "416": "InvalidRange",
    "BucketAlreadyOwnedByYou": "BucketAlreadyExists", "InvalidDigest": "BadDigest",
    "XAmzContentSHA256Mismatch": "BadDigest",
    "EntityTooSmall": "InvalidPart", "InvalidPartOrder": "InvalidPart",
}  # fmt: skip
_STATUS: Final = {
    "AccessDenied": 403, "InvalidAccessKeyId": 403, "SignatureDoesNotMatch": 403, "ExpiredToken": 403,
    "InvalidToken": 403, "AllAccessDisabled": 403, "TokenRefreshRequired": 403, "Forbidden": 403, "Unauthorized": 401,
    "QuotaExceeded": 507, "XMinioStorageFull": 507, "InsufficientStorage": 507, "XMinioAdminBucketQuotaExceeded": 507,
    "SlowDown": 503, "ServiceUnavailable": 503, "InternalError": 500, "Throttling": 503, "RequestLimitExceeded": 503,
    "OperationAborted": 503, "ConditionalRequestConflict": 503, "RequestTimeout": 408, "RequestTimeTooSkewed": 408,
    "NotImplemented": 501, "PreconditionFailed": 412,
}  # fmt: skip
"""The status that tells best what a code means."""
_KNOWN: Final[dict[str | int, Callable[[Target], errors.PersistenceError]]] = {
    "NoSuchBucket": lambda target: errors.BucketNotFound(target.bucket),
    "NoSuchUpload": lambda target: errors.UploadNotFound(target.bucket, target.object_id, target.upload_id),
    "NoSuchKey": _not_found,
    "BucketAlreadyExists": lambda target: errors.BucketExists(target.bucket),
    "BucketNotEmpty": lambda target: errors.BucketNotEmpty(target.bucket),
    "InvalidRange": lambda target: errors.InvalidRange(target.bucket, target.object_id, 0, None, None),
    "BadDigest": lambda target: errors.DigestMismatch(f"The content of {target.object_id!r} has another digest."),
    "InvalidPart": lambda target: errors.PartsMismatch(
        target.bucket, target.object_id, target.upload_id, "the server refused its parts"
    ),
    "EntityTooLarge": lambda target: errors.TooLarge(f"{target.where} stores no object of this size."),
    412: lambda target: errors.ObjectExists(target.bucket, target.object_id),
}
