"""The refusals of the archive's APIs: each knows its status, its ``exception_id`` and its ``data``."""

from __future__ import annotations

from typing import Any, ClassVar

from connector.errors import RefusedError


class ApiError(RefusedError):
    """A refusal that the routes answer as ``{"exception_id", "description", "data"}``."""

    status_code: ClassVar[int] = 400
    id: ClassVar[str] = "badRequest"

    def __init__(self, description: str, **data: Any) -> None:
        super().__init__(description, status=self.status_code, exception_id=self.id)
        self.data = data


class Unauthenticated(ApiError):
    """No token, or one that is expired, forged, or made for another kind of work."""

    status_code = 401
    id = "notAuthenticated"


class Forbidden(ApiError):
    """A good token, but for another package, box or file."""

    status_code = 403
    id = "notAuthorized"


class WrongFileAuthorization(ApiError):
    """A good download token, but for another file."""

    status_code = 403
    id = "wrongFileAuthorizationError"


class InvalidRequest(ApiError):
    """A body, path or query that does not have the agreed form. ``where``: the place of the fault, outermost first."""

    status_code = 422
    id = "malformedRequest"

    def __init__(self, description: str, *where: str) -> None:
        super().__init__(description)
        self.where = where


class PaginationError(ApiError):
    """A page of a listing that cannot be: its bounds, or the order asked for."""

    status_code = 422
    id = "paginationError"


class NoSuchObject(ApiError):
    """No file is registered under this accession."""

    status_code = 404
    id = "noSuchObject"


class NoSuchStorage(ApiError):
    """The box belongs to a storage alias that this archive does not serve."""

    id = "noSuchStorage"


class ChecksumMismatch(ApiError):
    """What the client says it sent and what arrived differ."""

    id = "checksumMismatch"


class InvalidPartSize(ApiError):
    """A part size, or a part's number or length, against the limits of S3 or against what was announced."""

    id = "invalidPartSize"


class UploadSizeMismatch(ApiError):
    """The parts do not add up to the announced size."""

    id = "uploadSizeMismatch"


class BoxNotFound(ApiError):
    """No such box."""

    status_code = 404
    id = "boxNotFound"


class FileUploadNotFound(ApiError):
    """No such upload in this box."""

    status_code = 404
    id = "fileUploadNotFound"


class S3UploadNotFound(ApiError):
    """The object storage does not know the multipart upload any more."""

    status_code = 404
    id = "s3UploadNotFound"


class BoxStateError(ApiError):
    """The box is not open."""

    status_code = 409
    id = "boxStateError"


class FileUploadAlreadyExists(ApiError):
    """Another upload holds this alias in the box."""

    status_code = 409
    id = "fileUploadAlreadyExists"


class UploadCompletionError(ApiError):
    """The stored parts do not make the announced file: some are missing, or not as large as they must be."""

    status_code = 500
    id = "uploadCompletionError"


class FileUploadStateError(ApiError):
    """The upload's state does not allow this."""

    status_code = 409
    id = "fileUploadStateError"


class OrphanedMultipartUpload(ApiError):
    """The object storage holds a multipart upload that stands in the way and cannot be aborted."""

    status_code = 409
    id = "orphanedMultipartUpload"


class BoxVersionOutdated(ApiError):
    """The box changed since it was read."""

    status_code = 409
    id = "boxVersionOutdated"


class TooManyOpenUploads(ApiError):
    """The box holds as many uploads in ``init`` as it may."""

    status_code = 429
    id = "tooManyOpenUploads"


class BoxMaxSizeExceeded(ApiError):
    """The file does not fit into the box any more."""

    status_code = 507
    id = "boxMaxSizeExceeded"
