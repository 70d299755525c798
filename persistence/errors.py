"""The errors of object storage and documents: one root, five families.

Catch a family, not a leaf: `NotFound` (the bucket, object, upload or document does not exist),
`AlreadyExists` (its name is taken), `Rejected` (the call itself is wrong; repeating it does not
help), `Unavailable` (the service is unreachable, too slow or full: the same call may work later),
`Conflict` (a concurrent call changed the same data: read again and repeat). The error of the
driver, where there is one, is the `__cause__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PersistenceError(Exception):
    """Root of all errors of this package. Only leaf classes can be instantiated.

    Args:
        message: one sentence that names the bucket, object, collection, id or value concerned.
        hint: one sentence that says what to do next; empty if there is no advice.

    Raises:
        TypeError: the class is the root or a family.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        if type(self) in _FAMILIES:
            raise TypeError(f"{type(self).__name__} is a family; raise one of its members")
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the constructor with `args`, which those of most subclasses do not take.
        return _without_init, (type(self), self.args), self.__dict__


def _without_init(kind: type[PersistenceError], args: tuple[object, ...]) -> PersistenceError:
    return kind.__new__(kind, *args)


class NotFound(PersistenceError):
    """Family: the bucket, object, upload, document or alias does not exist."""


class AlreadyExists(PersistenceError):
    """Family: the name, the id or the unique values are taken."""


class Rejected(PersistenceError):
    """Family: the call, its arguments or the settings are wrong; repeating the call does not help."""


class Unavailable(PersistenceError):
    """Family: the service did not answer in time, failed, or has no space left; the same call may work later."""


class Conflict(PersistenceError):
    """Family: a concurrent call changed the same data; read again and repeat."""


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
    """There is no such open multipart upload: it was never started, or was completed or aborted."""

    def __init__(self, bucket: str, object_id: str, upload_id: str) -> None:
        super().__init__(f"There is no open upload {upload_id!r} of object {object_id!r} in bucket {bucket!r}.")
        self.bucket = bucket
        self.object_id = object_id
        self.upload_id = upload_id


class AliasNotFound(NotFound):
    """The registry has no storage with this alias."""

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
    """An object of this id exists, and the call was made with `overwrite=False`."""

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
        super().__init__(f"Document {id_!r} in collection {collection!r} has the same {', '.join(fields)} as another.")
        self.collection = collection
        self.id = id_
        self.fields = tuple(fields)


class InvalidName(Rejected):
    """A name breaks the rules of `persistence.objects.naming` or `persistence.documents.naming`."""


class InvalidQuery(Rejected):
    """A `where` mapping, a sort, a set of changes, a model or an index is not valid."""


class InvalidValue(Rejected):
    """A value cannot be stored such that every provider returns an equal one."""


class InvalidRange(Rejected):
    """The byte range does not lie within the object."""

    def __init__(self, bucket: str, object_id: str, start: object, stop: object | None, size: int | None) -> None:
        span = f"{start}-{'' if stop is None else stop}"
        of = "" if size is None else f", which has {size} bytes"
        super().__init__(f"Bytes {span} do not lie within object {object_id!r} in bucket {bucket!r}{of}.")
        self.bucket = bucket
        self.object_id = object_id


class PartsMismatch(Rejected):
    """The parts stored for an upload are not those that the call to complete it expects."""

    def __init__(self, bucket: str, object_id: str, upload_id: str, why: str) -> None:
        super().__init__(f"Upload {upload_id!r} of {object_id!r} in bucket {bucket!r} cannot be completed: {why}.")
        self.bucket = bucket
        self.object_id = object_id
        self.upload_id = upload_id


class TooLarge(Rejected):
    """The content is larger than the call allows or than the service can store."""


class DigestMismatch(Rejected):
    """The md5 of the content differs from the one given with it, or the one given is not an md5."""


class SignatureRefused(Rejected):
    """A presigned URL was altered, or was signed for a different request."""


class SignatureExpired(Rejected):
    """A presigned URL was used after its lifetime."""


class CredentialsRefused(Rejected):
    """The service rejects the credentials or does not permit the call."""


class ServiceRefused(Rejected):
    """The service rejected the call for a reason that has no class of its own here."""


class NotSupported(Rejected):
    """The service cannot do what the call requires. Nothing was changed."""


class InvalidSettings(Rejected):
    """A setting is missing, unknown or wrong, or the settings file cannot be read."""


class SchemaTooNew(Rejected):
    """The database has a schema version (`stored`) beyond the last one that the program knows (`supported`)."""

    def __init__(self, stored: int, supported: int) -> None:
        text = f"The database has schema version {stored}, and this program supports versions up to {supported}."
        super().__init__(text, hint="Run the newer version of the program.")
        self.stored = stored
        self.supported = supported


class MigrationFailed(Rejected):
    """A migration raised an exception for a document (the `__cause__`), or returned what is not its new version."""

    def __init__(self, collection: str, id_: object, why: str) -> None:
        hint = "Correct the migration and run it again; it resumes before this document."
        super().__init__(f"Document {id_!r} in collection {collection!r} cannot be migrated: {why}.", hint=hint)
        self.collection = collection
        self.id = id_


class Closed(Rejected):
    """The provider was used outside of its `async with` block."""

    def __init__(self, what: str) -> None:
        hint = "Use it inside its `async with` block, and make DAOs again after opening it again."
        super().__init__(f"{what} is not open, or not the one that is open now.", hint=hint)


class AlreadyOpen(Rejected):
    """The provider's `async with` block was entered a second time before it was left."""


class WrongLoop(Rejected):
    """The provider was used in another event loop or thread than the one that opened it."""


class NotBound(Rejected):
    """A DAO that is not bound to the open transaction was used to write inside it, and would deadlock."""


class Unreachable(Unavailable):
    """The connection to the service could not be opened, or was closed."""


class DeadlineExceeded(Unavailable):
    """The service did not answer within the deadline of the call."""


class StorageFull(Unavailable):
    """The service has no space left for the content."""


class ServiceFailed(Unavailable):
    """The service reported an internal error, or asked to slow down."""


class BucketNotEmpty(Conflict):
    """The bucket still has objects, and the call was made without `with_content=True`."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"Bucket {bucket!r} is not empty.", hint="Delete its objects, or delete it with content.")
        self.bucket = bucket


class ObjectChanged(Conflict):
    """An object was replaced or deleted while it was being read."""

    def __init__(self, bucket: str, object_id: str) -> None:
        super().__init__(f"Object {object_id!r} in bucket {bucket!r} changed while it was read.", hint="Read it again.")
        self.bucket = bucket
        self.object_id = object_id


class TransactionConflict(Conflict):
    """Another transaction changed the same documents; this one was rolled back."""
