"""Translates the errors of botocore into those of this package."""

from __future__ import annotations

from typing import Any, Final

import attrs
from botocore import exceptions
from urllib3.exceptions import HTTPError, TimeoutError

from persistence.errors import (
    BucketExists,
    BucketNotEmpty,
    BucketNotFound,
    CredentialsRefused,
    DeadlineExceeded,
    DigestMismatch,
    InvalidRange,
    NotSupported,
    ObjectExists,
    ObjectNotFound,
    PartsMismatch,
    PersistenceError,
    ServiceFailed,
    ServiceRefused,
    StorageFull,
    TooLarge,
    Unreachable,
    UploadNotFound,
)

_CREDENTIALS: Final = frozenset(
    ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled",
     "TokenRefreshRequired", "403", "401", "Forbidden", "Unauthorized")
)  # fmt: skip
_FULL: Final = frozenset(
    ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507", "XMinioAdminBucketQuotaExceeded")
)
_BUSY: Final = frozenset(
    ("SlowDown", "ServiceUnavailable", "InternalError", "Throttling", "OperationAborted", "RequestLimitExceeded",
     "ConditionalRequestConflict")
)  # fmt: skip
_LATE: Final = frozenset(("RequestTimeout", "RequestTimeTooSkewed"))


@attrs.frozen
class Target:
    """The names of a call, for messages."""

    where: str
    bucket: str = ""
    object_id: str = ""
    upload_id: str = ""


def code_of(error: exceptions.ClientError) -> str:
    """The S3 error code, or the status where there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translated(error: Exception, target: Target) -> PersistenceError:
    """The error of this package for an error of botocore, or for any other that its calls raise."""
    if isinstance(error, exceptions.ClientError):
        return _of_code(error, target)
    late = exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError, TimeoutError
    if isinstance(error, late):
        return DeadlineExceeded(f"{target.where} did not answer in time.")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return CredentialsRefused(f"There are no credentials for {target.where}.")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | HTTPError | OSError):
        return Unreachable(f"{target.where} cannot be reached: {error}.", hint="Check its address and that it runs.")
    if isinstance(error, exceptions.ParamValidationError):
        return ServiceRefused(f"The call of {target.where} is not possible: {error}.")
    return ServiceFailed(f"The call of {target.where} failed: {error}.")


def from_code(code: str, message: str, target: Target) -> PersistenceError:
    """The error for an S3 error code."""
    response: Any = {"Error": {"Code": code, "Message": message}}
    return _of_code(exceptions.ClientError(response, "call"), target)


def _of_code(error: exceptions.ClientError, target: Target) -> PersistenceError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    known = _known(code, status, target)
    if known is not None:
        return known
    if code in _CREDENTIALS or status in (401, 403):
        return CredentialsRefused(f"{target.where} does not allow this: {error}.", hint="Check the credentials.")
    if code in _FULL or status == 507:
        return StorageFull(f"{target.where} has no space left.", hint="Free some, then repeat the call.")
    if code in _LATE:
        return DeadlineExceeded(f"{target.where} timed out: {error}.")
    if code == "NotImplemented" or status == 501:
        return NotSupported(f"{target.where} does not support this call: {error}.")
    if code in _BUSY or status >= 500:
        return ServiceFailed(f"{target.where} cannot do this now: {error}.", hint="Try again.")
    return ServiceRefused(f"{target.where} refused the call: {error}.")


def _known(code: str, status: int, target: Target) -> PersistenceError | None:
    bucket, object_id = target.bucket, target.object_id
    if code == "NoSuchBucket":
        return BucketNotFound(bucket)
    if code == "NoSuchUpload":
        return UploadNotFound(bucket, object_id, target.upload_id)
    if code in ("NoSuchKey", "404", "NotFound"):
        if target.upload_id:
            # Ceph's answer for an upload that does not exist.
            return UploadNotFound(bucket, object_id, target.upload_id)
        return ObjectNotFound(bucket, object_id) if object_id else BucketNotFound(bucket)
    if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        return BucketExists(bucket)
    if code == "BucketNotEmpty":
        return BucketNotEmpty(bucket)
    if code in ("InvalidRange", "416"):
        return InvalidRange(bucket, object_id, 0, None, None)
    if code in ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"):
        return DigestMismatch(f"The content of object {object_id!r} does not have the digest given with it.")
    if code in ("EntityTooSmall", "InvalidPart", "InvalidPartOrder"):
        return PartsMismatch(bucket, object_id, target.upload_id, f"the server answered {code}")
    if code == "EntityTooLarge":
        return TooLarge(f"Object {object_id!r} is larger than {target.where} stores.")
    if code in ("PreconditionFailed", "412") or status == 412:
        return ObjectExists(bucket, object_id)
    return None
