"""What a status and an error body mean: family, exit code, and what the retry loop does about it."""

from __future__ import annotations

import pytest

from connector.clients.api_transport import TokenRefusedError, error_from_response
from connector.errors import NO_RETRY, BrokenError, RefusedError, RetryPolicy
from connector.transfer import OverloadedError, TooManyOpenTransfersError
from tests.clients.conftest import Reply

CONTRACT = {
    "noSuchStorage": 400,
    "checksumMismatch": 400,
    "invalidPartSize": 400,
    "uploadSizeMismatch": 400,
    "boxNotFound": 404,
    "fileUploadNotFound": 404,
    "s3UploadNotFound": 404,
    "boxStateError": 409,
    "fileUploadAlreadyExists": 409,
    "fileUploadStateError": 409,
    "orphanedMultipartUpload": 409,
    "boxVersionOutdated": 409,
    "uploadCompletionError": 500,
    "boxMaxSizeExceeded": 507,
    "wrongFileAuthorizationError": 403,
    "noSuchObject": 404,
}


@pytest.mark.parametrize("exception_id", CONTRACT)
def test_each_id_of_the_contract_is_a_refusal(reply: Reply, exception_id: str) -> None:
    status = CONTRACT[exception_id]
    error = error_from_response(
        reply(status, {"exception_id": exception_id, "description": "Said so.", "data": {}}), "do it"
    )
    assert type(error) is RefusedError
    assert (error.exit_code, error.advice.again) == (4, exception_id == "boxVersionOutdated")
    assert (error.status, error.exception_id) == (status, exception_id)
    assert error.message == f"Could not do it: the archive answered {status}: Said so."


@pytest.mark.parametrize("exception_id", CONTRACT)
def test_each_id_that_a_user_can_do_something_about_comes_with_advice(reply: Reply, exception_id: str) -> None:
    error = error_from_response(reply(CONTRACT[exception_id], {"exception_id": exception_id}), "do it")
    assert error.hint
    assert "--overwrite" not in error.hint


def test_an_id_wins_over_the_general_advice_for_its_status(reply: Reply) -> None:
    by_id = error_from_response(reply(403, {"exception_id": "wrongFileAuthorizationError"}), "do it")
    assert by_id.hint != error_from_response(reply(403, {"detail": "no"}), "do it").hint


def test_what_to_do_may_depend_on_what_was_done(reply: Reply) -> None:
    hints = {"boxStateError": "Do this.", "uploadAbortError": "Do that.", "422": "Do it."}
    assert error_from_response(reply(409, {"exception_id": "boxStateError"}), "do it", hints=hints).hint == "Do this."
    assert (
        error_from_response(reply(500, {"exception_id": "uploadAbortError"}), "do it", hints=hints).hint == "Do that."
    )
    assert error_from_response(reply(422, {"detail": []}), "do it", hints=hints, see="See.").hint == "Do it. See."
    assert error_from_response(reply(401, {"detail": "no"}), "do it", see="See.").hint.endswith(". See.")
    other = reply(404, {"exception_id": "boxNotFound"})
    assert error_from_response(other, "do it", hints=hints).hint == error_from_response(other, "do it").hint


def test_a_request_with_a_refused_token_is_not_repeated_as_it_is(reply: Reply) -> None:
    error = error_from_response(reply(401, {"detail": "expired"}), "do it")
    assert isinstance(error, TokenRefusedError)
    assert (error.exit_code, error.advice) == (4, NO_RETRY)


def test_too_many_open_uploads_are_told_from_other_429s(reply: Reply) -> None:
    capped = error_from_response(reply(429, {"exception_id": "tooManyOpenUploads", "description": "five"}), "do it")
    limited = error_from_response(reply(429, {"exception_id": "rateLimited"}, retry_after="7"), "do it")
    assert isinstance(capped, TooManyOpenTransfersError)
    assert (capped.exit_code, capped.advice.again) == (4, False)
    assert isinstance(limited, OverloadedError)
    assert (limited.advice.again, limited.advice.after) == (True, 7.0)


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_a_busy_archive_is_asked_again(reply: Reply, status: int) -> None:
    error = error_from_response(reply(status, b"<html>busy</html>"), "do it")
    assert isinstance(error, OverloadedError)
    assert (error.exit_code, error.advice.again, error.advice.after) == (5, True, None)


def test_the_time_to_wait_may_be_a_date_set_against_the_servers_own_clock(reply: Reply) -> None:
    late = reply(503, b"", date="Wed, 21 Oct 2015 07:28:00 GMT", retry_after="Wed, 21 Oct 2015 07:29:30 GMT")
    assert error_from_response(late, "do it").advice.after == 90.0


@pytest.mark.parametrize("status", [500, 501, 599])
def test_a_failing_archive_is_asked_again(reply: Reply, status: int) -> None:
    error = error_from_response(reply(status), "do it")
    assert type(error) is BrokenError
    assert (error.exit_code, error.advice.again) == (5, True)


def test_calls_that_collide_are_repeated_at_once_and_not_told(reply: Reply) -> None:
    error = error_from_response(reply(500, {"exception_id": "internalError"}), "do it")
    assert error.advice == RetryPolicy(again=True, after=0.0, expected=True)
    wait = error_from_response(reply(500, {"exception_id": "internalError"}, retry_after="7"), "do it")
    assert (wait.advice.after, wait.advice.expected) == (7.0, False)


def test_where_the_archive_describes_nothing_its_id_is_named(reply: Reply) -> None:
    assert (
        "404 s3UploadNotFound."
        in error_from_response(reply(404, {"exception_id": "s3UploadNotFound"}), "do it").message
    )


def test_a_full_box_is_no_failure_of_the_server(reply: Reply) -> None:
    assert error_from_response(reply(507), "do it").exit_code == 4


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_taken(reply: Reply, status: int) -> None:
    error = error_from_response(reply(status, b"", location="https://elsewhere.test/"), "do it")
    assert type(error) is BrokenError
    assert not error.advice.again


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"null", b'{"exception_id": 7}', b"\xff\xfe", b"[" * 100_000, b'{"description": []}'],
)
def test_a_body_that_is_no_error_body_leaves_the_status_alone_to_speak(reply: Reply, body: bytes) -> None:
    error = error_from_response(reply(409, body), "do it")
    assert error.message == "Could not do it: the archive answered 409."


def test_what_the_archive_says_cannot_drive_the_terminal(reply: Reply) -> None:
    body = {"exception_id": "x\x1b[2J", "description": "\x1b]0;owned\x07\r\n\u202egnirts\x9b" + "y" * 1000}
    error = error_from_response(reply(409, body), "do it")
    assert isinstance(error, RefusedError)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in error.message + error.exception_id)
    assert len(error.message) < 400


def test_the_archives_own_words_are_passed_on_whichever_layer_spoke(reply: Reply) -> None:
    assert (
        "box is locked"
        in error_from_response(reply(409, {"exception_id": "x", "description": "box is locked"}), "do it").message
    )
    assert "no such thing" in error_from_response(reply(403, {"detail": "no such thing"}), "do it").message
    assert error_from_response(reply(422, {"detail": [{"loc": "body"}]}), "do it").message.endswith("answered 422.")
