"""What can go wrong in storage and documents: one root, five families.

Catch a family, not a leaf: `NotFound` (what was asked for is not there), `AlreadyExists` (its
name is taken), `Rejected` (the call itself is wrong and will stay wrong), `Unavailable` (the
service is gone, slow or full: the same call may work later), `Conflict` (somebody else changed
the same thing: read again and repeat).
"""

from __future__ import annotations

from collections.abc import Sequence


class PersistenceError(Exception):
    """Root of all errors of this package. Refuses instantiation: a leaf says what happened.

    Args:
        message: one sentence with what was asked for.
        hint: what to do next, if there is something to say; a sentence too.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        if type(self) in _FAMILIES:
            raise TypeError(f"{type(self).__name__} is a family; raise one of its members")
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class NotFound(PersistenceError):
    """Family: what was asked for does not exist."""


class AlreadyExists(PersistenceError):
    """Family: the name or the values are taken."""


class Rejected(PersistenceError):
    """Family: the call is wrong as it stands; repeating it does not help."""


class Unavailable(PersistenceError):
    """Family: the service did not answer, not in time, or has no room; it may later."""


class Conflict(PersistenceError):
    """Family: a concurrent change got in the way; read again and repeat."""


_FAMILIES = frozenset((PersistenceError, NotFound, AlreadyExists, Rejected, Unavailable, Conflict))


class BucketNotFound(NotFound):
    """There is no such bucket."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"There is no bucket {bucket!r}.")
        self.bucket = bucket


class ObjectNotFound(NotFound):
    """There is no such object in the bucket."""

    def __init__(self, bucket: str, object_id: str) -> None:
        super().__init__(f"There is no object {object_id!r} in bucket {bucket!r}.")
        self.bucket = bucket
        self.object_id = object_id


class UploadNotFound(NotFound):
    """There is no such open multipart upload: never started, completed or aborted."""

    def __init__(self, bucket: str, object_id: str, upload_id: str) -> None:
        super().__init__(f"There is no open upload {upload_id!r} of object {object_id!r} in bucket {bucket!r}.")
        self.bucket = bucket
        self.object_id = object_id
        self.upload_id = upload_id


class AliasNotFound(NotFound):
    """The registry knows no storage under this alias."""

    def __init__(self, alias: str, known: Sequence[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"There is no storage with alias {alias!r}.", hint=f"Known aliases: {names}.")
        self.alias = alias


class DocumentNotFound(NotFound):
    """The collection has no document with this id."""

    def __init__(self, collection: str, id_: object) -> None:
        super().__init__(f"There is no document {id_!r} in collection {collection!r}.")
        self.collection = collection
        self.id = id_


class BucketExists(AlreadyExists):
    """A bucket of this name exists."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"Bucket {bucket!r} exists already.")
        self.bucket = bucket


class ObjectExists(AlreadyExists):
    """An object of this id exists and was not to be overwritten."""

    def __init__(self, bucket: str, object_id: str) -> None:
        super().__init__(f"Object {object_id!r} exists already in bucket {bucket!r}.")
        self.bucket = bucket
        self.object_id = object_id


class DocumentExists(AlreadyExists):
    """A document of this id exists."""

    def __init__(self, collection: str, id_: object) -> None:
        super().__init__(f"Document {id_!r} exists already in collection {collection!r}.")
        self.collection = collection
        self.id = id_


class UniqueViolation(AlreadyExists):
    """Another document holds the same values in the fields of a unique index."""

    def __init__(self, collection: str, id_: object, fields: Sequence[str]) -> None:
        super().__init__(
            f"Document {id_!r} in collection {collection!r} has the same {', '.join(fields)} as another one."
        )
        self.collection = collection
        self.id = id_
        self.fields = tuple(fields)


class InvalidName(Rejected):
    """A bucket, object, upload or collection name breaks the rules of `persistence.objects.naming`."""


class InvalidQuery(Rejected):
    """A `where` mapping, a sort or a set of changes cannot be understood."""


class InvalidValue(Rejected):
    """A value cannot be stored so that every provider would give back the same."""


class InvalidRange(Rejected):
    """The byte range does not lie within the object."""

    def __init__(self, bucket: str, object_id: str, start: int, stop: int | None, size: int | None) -> None:
        span = f"{start}-{'' if stop is None else stop}"
        of = "" if size is None else f", which has {size} bytes"
        super().__init__(f"Bytes {span} do not lie within object {object_id!r} in bucket {bucket!r}{of}.")
        self.bucket = bucket
        self.object_id = object_id


class PartsMismatch(Rejected):
    """The parts stored for an upload are not the ones that were to be completed."""

    def __init__(self, bucket: str, object_id: str, upload_id: str, why: str) -> None:
        super().__init__(
            f"Upload {upload_id!r} of object {object_id!r} in bucket {bucket!r} cannot be completed: {why}."
        )
        self.bucket = bucket
        self.object_id = object_id
        self.upload_id = upload_id


class TooLarge(Rejected):
    """The content is larger than was allowed or than the service can store."""


class DigestMismatch(Rejected):
    """The content does not have the md5 that was announced for it."""


class SignatureRefused(Rejected):
    """A presigned URL was altered, or was made for another call."""


class SignatureExpired(Rejected):
    """A presigned URL was used after its lifetime."""


class CredentialsRefused(Rejected):
    """The service does not accept the credentials or does not allow the call."""


class ServiceRefused(Rejected):
    """The service refused the call for a reason that has no class of its own here."""


class Closed(Rejected):
    """The provider was used outside of its `async with` block."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not open.", hint="Use it inside its `async with` block.")


class NotBound(Rejected):
    """A write inside a transaction was made by a DAO that is not bound to it, and would wait for itself."""

    def __init__(self) -> None:
        super().__init__(
            "A DAO that is not bound to the transaction was used to write inside of it.",
            hint="Use the DAO that `bind` of the transaction gives.",
        )


class Unreachable(Unavailable):
    """No connection to the service, or the connection broke."""


class DeadlineExceeded(Unavailable):
    """The service did not answer within the deadline of the call."""


class StorageFull(Unavailable):
    """There is no room left for what was to be stored."""


class ServiceFailed(Unavailable):
    """The service answered that it has a problem of its own, or asked to slow down."""


class BucketNotEmpty(Conflict):
    """A bucket cannot be deleted without its content."""

    def __init__(self, bucket: str) -> None:
        super().__init__(
            f"Bucket {bucket!r} is not empty.", hint="Delete its objects first, or ask for deletion with content."
        )
        self.bucket = bucket


class ObjectChanged(Conflict):
    """An object was replaced or deleted while it was being read."""

    def __init__(self, bucket: str, object_id: str) -> None:
        super().__init__(f"Object {object_id!r} in bucket {bucket!r} changed while it was read.", hint="Read it again.")
        self.bucket = bucket
        self.object_id = object_id


class TransactionConflict(Conflict):
    """Another transaction changed the same documents; this one was rolled back."""
