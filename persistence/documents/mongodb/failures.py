"""PyMongo's errors as those of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
from bson.errors import BSONError
from pymongo import errors

from persistence import errors as ours
from persistence.documents.values import Id

_Meaning: TypeAlias = tuple[type[ours.PersistenceError], str, str]
"""An error of this package, what the database did, and what to do next."""

_DUPLICATE_KEY: Final = 11000
_BAD_VALUE: Final = 2
_TOO_LATE: Final[_Meaning] = (ours.DeadlineExceeded, "did not answer in time", "")
_CONFLICT: Final[_Meaning] = (ours.TransactionConflict, "gave up the transaction", "")
_TOO_LARGE: Final[_Meaning] = (ours.TooLarge, "does not store documents or indexed values of this size", "")

# Codes of MongoDB's error_codes.yml.
_CODES: Final[Mapping[tuple[int, ...], _Meaning]] = {
    (8000, 11, 13, 18, 33): (ours.CredentialsRefused, "does not accept the credentials", ""),
    (112,): _CONFLICT,
    (50, 89, 202, 262): _TOO_LATE,
    (14031,): (ours.StorageFull, "has no room left", "Free space, then repeat."),
    (85, 86): (ours.InvalidQuery, "has such an index with other options", "Delete that one."),
    (20,): (ours.ServiceRefused, "refused the call", "Transactions need a replica set; one member is enough."),
    (28, 56, 57): (ours.InvalidValue, "found nothing around a field that is to be set", ""),
    (10334, 17280): _TOO_LARGE,
    (6, 7, 91, 189, 10107, 11600, 11602, 13435, 13436, 9001): (ours.ServiceFailed, "cannot do this now", "Try again."),
}
_BY_CODE: Final = {code: meaning for codes, meaning in _CODES.items() for code in codes}
_BY_TYPE: Final[Mapping[type[Exception] | tuple[type[Exception], ...], _Meaning]] = {
    errors.OperationFailure: (ours.ServiceRefused, "refused the call", ""),
    errors.ConnectionFailure: (ours.Unreachable, "cannot be reached", "Check its address and that it runs."),
    errors.DocumentTooLarge: _TOO_LARGE,
    (errors.InvalidName, BSONError, OverflowError): (ours.InvalidValue, "cannot store this", ""),
    errors.ConfigurationError: (ours.ServiceRefused, "cannot be used with these settings", ""),
    Exception: (ours.ServiceFailed, "failed", ""),
}


@attrs.frozen
class Failures:
    """Translates the errors of one collection.

    Args:
        collection: its name.
        id_field: the field that is stored as `_id`.
    """

    collection: str
    id_field: str

    def translated(self, error: Exception, id_: Id | None = None) -> ours.PersistenceError:
        """The error of this package that says the same."""
        if isinstance(error, errors.OperationFailure) and error.code == _DUPLICATE_KEY:
            stored = (error.details or {}).get("keyPattern", ())
            fields = [self.id_field if field == "_id" else field for field in stored]
            if fields == [self.id_field]:
                return ours.DocumentExists(self.collection, id_)
            return ours.UniqueViolation(self.collection, id_, fields)
        kind, text, hint = _meaning(error)
        said = str(error).partition(", full error: ")[0].rstrip(".")  # PyMongo repeats it with all that was answered
        return kind(f"The database {text}: {said}.", hint=hint)

    def write_error(self, entry: Mapping[str, Any], id_: Id) -> ours.PersistenceError:
        """What one entry of a bulk write's errors means."""
        error = errors.WriteError(f"document {id_!r}: {entry.get('errmsg')}", entry.get("code"), entry)
        return self.translated(error, id_)


def _meaning(error: Exception) -> _Meaning:
    if isinstance(error, errors.NetworkTimeout | errors.ExecutionTimeout | errors.WaitQueueTimeoutError):
        return _TOO_LATE
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return _BY_TYPE[errors.ConnectionFailure]  # in a transaction, too: repeating that at once takes as long again
    if isinstance(error, errors.PyMongoError) and error.has_error_label("TransientTransactionError"):
        return _CONFLICT
    if isinstance(error, errors.OperationFailure):
        if error.code == _BAD_VALUE and "too large" in str(error):
            return _TOO_LARGE
        if error.code in _BY_CODE:
            return _BY_CODE[error.code]
    return next(meaning for kind, meaning in _BY_TYPE.items() if isinstance(error, kind))
