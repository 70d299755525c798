"""PyMongo's errors as those of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bson.errors import BSONError, InvalidDocument
from pymongo import errors

from persistence.documents.protocol import Id
from persistence.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    DocumentExists,
    InvalidQuery,
    InvalidValue,
    PersistenceError,
    ServiceFailed,
    ServiceRefused,
    StorageFull,
    TooLarge,
    TransactionConflict,
    UniqueViolation,
    Unreachable,
)

# Codes of MongoDB's error_codes.yml.
_REFUSED: Final = (8000, 11, 13, 18, 33)
_TOO_LATE: Final = (50, 89, 202, 262)
_FULL: Final = (14031,)
_INDEX_CONFLICT: Final = (85, 86)
_NOT_VIABLE: Final = (28, 56, 57)
_BUSY: Final = (6, 7, 91, 189, 10107, 11600, 11602, 13435, 13436, 9001)


class Failures:
    """Translates errors of one collection.

    Args:
        collection: its name.
        id_field: the field that is stored as `_id`.
    """

    def __init__(self, collection: str, id_field: str) -> None:
        self._collection = collection
        self._id_field = id_field

    def duplicate(self, details: Mapping[str, Any], id_: Id | None) -> PersistenceError:
        """What a duplicate key (code 11000) means: the id is taken, or values of a unique index are."""
        fields = [self._id_field if field == "_id" else field for field in details.get("keyPattern", ())]
        if fields == [self._id_field]:
            return DocumentExists(self._collection, id_)
        return UniqueViolation(self._collection, id_, fields)

    def write_error(self, entry: Mapping[str, Any], id_: Id) -> PersistenceError:
        """What one entry of a bulk write's errors means."""
        if entry.get("code") == 11000:
            return self.duplicate(entry, id_)
        return _of_code(errors.WriteError(f"document {id_!r}: {entry.get('errmsg')}", entry.get("code"), entry))

    def translated(self, error: Exception, id_: Id | None) -> PersistenceError:
        """The error of this package that says the same."""
        if isinstance(error, errors.DuplicateKeyError):
            return self.duplicate(error.details or {}, id_)
        return translated(error)


def translated(error: Exception) -> PersistenceError:
    """The error of this package for an error that is not about one document's keys."""
    if isinstance(error, errors.NetworkTimeout | errors.ExecutionTimeout | errors.WaitQueueTimeoutError):
        return DeadlineExceeded(f"The database did not answer in time: {error}.")
    if isinstance(error, errors.PyMongoError) and error.has_error_label("TransientTransactionError"):
        return TransactionConflict(f"The transaction was given up by the database: {error}.")
    if isinstance(error, errors.OperationFailure):
        return _of_code(error)
    if isinstance(error, errors.ConnectionFailure):
        return Unreachable(f"The database cannot be reached: {error}.", hint="Check its address and that it runs.")
    if isinstance(error, errors.DocumentTooLarge):
        return TooLarge("The document is larger than MongoDB stores (16 MiB).")
    if isinstance(error, BSONError | OverflowError | InvalidDocument | errors.InvalidName):
        return InvalidValue(f"MongoDB cannot store this: {error}.")
    if isinstance(error, errors.ConfigurationError):
        return ServiceRefused(f"The settings of the database do not work: {error}.")
    return ServiceFailed(f"The call of the database failed: {error}.")


def _of_code(error: errors.OperationFailure) -> PersistenceError:
    code = error.code
    if code in _REFUSED:
        return CredentialsRefused(f"The database does not accept the credentials: {error}.")
    if code == 112:
        return TransactionConflict("Another transaction changed the same documents.")
    if code in _TOO_LATE:
        return DeadlineExceeded(f"The database did not finish in time: {error}.")
    if code in _FULL:
        return StorageFull(f"The database has no room left: {error}.", hint="Free space, then repeat.")
    if code in _INDEX_CONFLICT:
        return InvalidQuery(f"The collection has such an index with other options: {error}.", hint="Delete that one.")
    if code in _NOT_VIABLE:
        return InvalidValue(f"A field cannot be set: there is nothing around it in the document ({error}).")
    if code in (10334, 17280) or (code == 2 and "too large" in str(error)):
        return TooLarge("The document, or an indexed value of it, is larger than MongoDB stores.")
    if code in _BUSY:
        return ServiceFailed(f"The database cannot do this now: {error}.", hint="Try again.")
    return ServiceRefused(f"The database refused the call: {error}.")
