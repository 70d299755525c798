"""Errors of drivers as those of this package: which family, and what it says to do."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions
from bson.errors import InvalidDocument
from pymongo import errors as pymongo
from urllib3.exceptions import ProtocolError

from persistence import errors
from persistence.documents.mongodb.failures import Failures
from persistence.objects.s3.failures import Target, translated

OBJECT = Target("s3.test", "bucket", "object")


def answer(code: str, status: int = 400) -> exceptions.ClientError:
    response: Any = {"Error": {"Code": code, "Message": "odd"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ReadTimeoutError(endpoint_url="http://s3.test"), errors.DeadlineExceeded),
        (exceptions.ConnectTimeoutError(endpoint_url="http://s3.test"), errors.DeadlineExceeded),
        (exceptions.NoCredentialsError(), errors.CredentialsRefused),
        (exceptions.EndpointConnectionError(endpoint_url="http://s3.test"), errors.Unreachable),
        (ProtocolError("cut"), errors.Unreachable),
        (OSError("reset"), errors.Unreachable),
        (exceptions.ParamValidationError(report="odd"), errors.ServiceRefused),
        (exceptions.UnknownServiceError(service_name="s3", known_service_names="none"), errors.ServiceFailed),
        (answer("AccessDenied", 403), errors.CredentialsRefused),
        (answer("Unknown", 401), errors.CredentialsRefused),
        (answer("InsufficientCapacity", 507), errors.StorageFull),
        (answer("RequestTimeout", 408), errors.DeadlineExceeded),
        (answer("NotImplemented", 501), errors.NotSupported),
        (answer("InternalError", 500), errors.ServiceFailed),
        (answer("503", 503), errors.ServiceFailed),
        (answer("MalformedXML", 400), errors.ServiceRefused),
        (answer("NoSuchKey", 404), errors.ObjectNotFound),
        (answer("404", 404), errors.ObjectNotFound),
    ],
)
def test_s3(error: Exception, kind: type[errors.PersistenceError]) -> None:
    assert type(translated(error, OBJECT)) is kind


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Target("s3.test", "bucket"), errors.BucketNotFound),
        (OBJECT, errors.ObjectNotFound),
        (Target("s3.test", "bucket", "object", "upload"), errors.UploadNotFound),
    ],
)
def test_what_s3_did_not_find_is_what_was_named(target: Target, kind: type[errors.PersistenceError]) -> None:
    assert type(translated(answer("404", 404), target)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pymongo.NetworkTimeout("late"), errors.DeadlineExceeded),
        (pymongo.ExecutionTimeout("late", 50), errors.DeadlineExceeded),
        (pymongo.WaitQueueTimeoutError("late"), errors.DeadlineExceeded),
        (pymongo.OperationFailure("late", 262), errors.DeadlineExceeded),
        (pymongo.ServerSelectionTimeoutError("nobody"), errors.Unreachable),
        (pymongo.AutoReconnect("cut"), errors.Unreachable),
        (pymongo.OperationFailure("conflict", 112), errors.TransactionConflict),
        (pymongo.OperationFailure("who?", 18), errors.CredentialsRefused),
        (pymongo.OperationFailure("full", 14031), errors.StorageFull),
        (pymongo.OperationFailure("options", 85), errors.InvalidQuery),
        (pymongo.OperationFailure("no field", 28), errors.InvalidValue),
        (pymongo.OperationFailure("BSONObj size too large", 2), errors.TooLarge),
        (pymongo.OperationFailure("odd", 2), errors.ServiceRefused),
        (pymongo.OperationFailure("stepping down", 189), errors.ServiceFailed),
        (pymongo.DocumentTooLarge("17 MiB"), errors.TooLarge),
        (pymongo.InvalidName("a..b"), errors.InvalidValue),
        (InvalidDocument("an object"), errors.InvalidValue),
        (OverflowError("9 bytes"), errors.InvalidValue),
        (pymongo.ConfigurationError("options"), errors.ServiceRefused),
        (pymongo.PyMongoError("odd"), errors.ServiceFailed),
    ],
)
def test_mongodb(error: Exception, kind: type[errors.PersistenceError]) -> None:
    ours = Failures("people", "id").translated(error)
    assert type(ours) is kind
    assert str(error) in ours.message


def test_mongodb_names_the_fields_whose_values_are_taken() -> None:
    failures = Failures("people", "name")
    of_id = pymongo.DuplicateKeyError("E11000", 11000, {"keyPattern": {"_id": 1}})
    assert type(failures.translated(of_id, "ann")) is errors.DocumentExists
    of_others = failures.translated(pymongo.DuplicateKeyError("E11000", 11000, {"keyPattern": {"a": 1, "_id": 1}}), "x")
    assert type(of_others) is errors.UniqueViolation
    assert "a" in of_others.message
    assert "name" in of_others.message


@pytest.mark.parametrize(
    "family",
    [
        errors.PersistenceError,
        errors.NotFound,
        errors.AlreadyExists,
        errors.Rejected,
        errors.Unavailable,
        errors.Conflict,
    ],
)
def test_families_are_caught_and_not_raised(family: type[errors.PersistenceError]) -> None:
    with pytest.raises(TypeError, match="family"):
        family("Something.")
    assert any(issubclass(kind, family) for kind in vars(errors).values() if isinstance(kind, type) and kind != family)
