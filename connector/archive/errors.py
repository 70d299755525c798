"""The refusals of the archive's APIs, each with its status, `exception_id` and `data`."""

from __future__ import annotations

from typing import Any, ClassVar

from connector.errors import RefusedError


class ApiError(RefusedError):
    """A refusal that the routes answer as `{"exception_id", "description", "data"}`."""

    status_code: ClassVar[int] = 400
    id: ClassVar[str] = "badRequest"

    def __init__(self, description: str, **data: Any) -> None:
        super().__init__(description, status=self.status_code, exception_id=self.id)
        self.data = data


class Unauthenticated(ApiError):
    """No token, or one that is expired, forged, or for another operation."""

    status_code = 401
    id = "notAuthenticated"


class Forbidden(ApiError):
    """A valid token, but for another package, box or file."""

    status_code = 403
    id = "notAuthorized"


class WrongFileAuthorization(ApiError):
    """A valid download token, but for another file."""

    status_code = 403
    id = "wrongFileAuthorizationError"


class InvalidRequest(ApiError):
    """A body, path or query without the form of the contract.

    Attributes:
        where: The path to the fault, outermost first.
    """

    status_code = 422
    id = "malformedRequest"

    def __init__(self, description: str, *where: str) -> None:
        super().__init__(description)
        self.where = where


class PaginationError(ApiError):
    """The bounds or the sort order of a page are not valid."""

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
    """The client's digests and the stored content differ."""

    id = "checksumMismatch"


class InvalidPartSize(ApiError):
    """The size, number or length of a part violates the limits of S3 or the announcement."""

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
    """The object storage no longer has the multipart upload."""

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
    """The stored parts do not make the announced file: some are missing, or have another size."""

    status_code = 500
    id = "uploadCompletionError"


class FileUploadStateError(ApiError):
    """The upload's state does not allow this."""

    status_code = 409
    id = "fileUploadStateError"


class IncompleteUploads(ApiError):
    """The box has uploads that are not complete, or not interrogated yet."""

    status_code = 409
    id = "incompleteUploads"


class BoxVersionOutdated(ApiError):
    """The box changed since it was read."""

    status_code = 409
    id = "boxVersionOutdated"


class TooManyOpenUploads(ApiError):
    """The box holds as many uploads in `init` as it may."""

    status_code = 429
    id = "tooManyOpenUploads"


class BoxMaxSizeExceeded(ApiError):
    """The file exceeds the remaining size of the box."""

    status_code = 507
    id = "boxMaxSizeExceeded"
