"""Access tokens, and the work order tokens that they buy."""

from __future__ import annotations

import os
from typing import Any

import jwt
import pytest

from connector.clients.api_transport import TokenRefusedError
from connector.clients.work_packages import DEFAULT_TOKEN_LIFETIME, AccessToken, read_work_order_token
from connector.crypt4gh.keys import KeyPair, seal_text
from connector.errors import BrokenError, RefusedError, UsageError
from tests.clients.conftest import Reply

OURS = KeyPair.of(os.urandom(32))
THEIRS = KeyPair.of(os.urandom(32))


def token(keys: KeyPair = OURS, **claims: Any) -> str:
    body = {"work_type": "download", "user_public_crypt4gh_key": keys.public_base64, "iat": 1000, "exp": 1030}
    return jwt.encode(body | claims, "k" * 32, algorithm="HS256")


def sealed(text: str, keys: KeyPair = OURS) -> str:
    return seal_text(text, keys.public)


# Access tokens


def test_the_string_that_users_get_is_taken_apart() -> None:
    secret = sealed("abcdefghijklmnopqrstuvwx")
    access = AccessToken.parse(f"my-package-1:{secret}")
    assert access.package_id == "my-package-1"
    assert access.bearer(OURS.private) == "abcdefghijklmnopqrstuvwx"


def test_a_mail_program_may_have_broken_it_into_lines() -> None:
    secret = sealed("abcdefghijklmnopqrstuvwx")
    access = AccessToken.parse(f"  my-package-1:{secret[:40]}\r\n {secret[40:]}\n")
    assert access.bearer(OURS.private) == "abcdefghijklmnopqrstuvwx"


def test_it_does_not_show_its_secret() -> None:
    secret = sealed("x" * 24)
    assert secret not in repr(AccessToken.parse(f"p:{secret}"))


@pytest.mark.parametrize(
    "text", [None, "", "abc", ":AAAA", "p:", "p:!!!!", "../../etc:AAAA", "p:AAAA:AAAA", "p:AAAA?x=1", "å:AAAA"]
)
def test_anything_else_is_no_access_token(text: Any) -> None:
    with pytest.raises(UsageError, match="PACKAGE_ID:ENCRYPTED") as caught:
        AccessToken.parse(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    "secret", [sealed("x" * 24, THEIRS), "AAAA", "AAA", "QUJD" * 30], ids=["theirs", "three bytes", "cut", "long"]
)
def test_one_for_another_key_is_refused(secret: Any) -> None:
    with pytest.raises(RefusedError, match="private key"):
        AccessToken("p", secret).bearer(OURS.private)


# Work order tokens


def test_it_lives_as_long_as_its_claims_say(reply: Reply) -> None:
    lent = read_work_order_token(reply(201, sealed(token(exp=1020))), OURS)
    assert lent.value.token == token(exp=1020)
    assert lent.seconds == pytest.approx(17.0)  # 20 s less the margin


def test_it_lives_as_long_as_the_answer_may_be_kept_if_that_is_shorter(reply: Reply) -> None:
    answer = reply(201, sealed(token()), cache_control="max-age=10, private", age="2")
    assert read_work_order_token(answer, OURS).seconds == pytest.approx(8 * 0.85)


def test_it_lives_as_long_as_its_claims_say_if_that_is_shorter(reply: Reply) -> None:
    answer = reply(201, sealed(token(exp=1004)), cache_control="max-age=30, private")
    assert read_work_order_token(answer, OURS).seconds == pytest.approx(4 * 0.85)


def test_one_that_must_not_be_kept_is_used_once(reply: Reply) -> None:
    assert read_work_order_token(reply(201, sealed(token()), cache_control="no-store"), OURS).seconds == 0


def test_one_that_says_nothing_lives_as_usual(reply: Reply) -> None:
    lent = read_work_order_token(reply(201, sealed(token(iat=None, exp=None))), OURS)
    assert lent.seconds == pytest.approx(DEFAULT_TOKEN_LIFETIME * 0.85)


def test_our_own_clock_plays_no_part(reply: Reply) -> None:
    # Issued by a clock that is decades off.
    lent = read_work_order_token(reply(201, sealed(token(iat=10, exp=40))), OURS)
    assert lent.seconds == pytest.approx(30 * 0.85)


def test_one_made_for_another_key_is_refused_in_clear_words(reply: Reply) -> None:
    with pytest.raises(RefusedError, match="different Crypt4GH key") as caught:
        read_work_order_token(reply(201, sealed(token(THEIRS))), OURS)
    assert not caught.value.advice.again


def test_one_that_names_no_key_is_refused(reply: Reply) -> None:
    with pytest.raises(RefusedError, match="different Crypt4GH key"):
        read_work_order_token(reply(201, sealed(token(user_public_crypt4gh_key=None))), OURS)


def test_one_sealed_to_another_key_is_refused(reply: Reply) -> None:
    with pytest.raises(RefusedError, match="not be opened"):
        read_work_order_token(reply(201, sealed(token(), THEIRS)), OURS)


@pytest.mark.parametrize("text", ["", "no.jwt", "a.b.c", "e30.e30", "e30.W10."])
def test_a_sealed_text_that_is_no_token_is_refused(reply: Reply, text: str) -> None:
    with pytest.raises(RefusedError):
        read_work_order_token(reply(201, sealed(text)), OURS)


@pytest.mark.parametrize("body", [None, 5, ["x"], {"token": "x"}, b"no json"])
def test_an_answer_that_holds_no_token_is_the_archives_fault(
    reply: Reply, body: bytes | dict[str, str] | int | list[str] | None
) -> None:
    with pytest.raises(BrokenError):
        read_work_order_token(reply(201, body), OURS)


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"iat": True}, {"exp": float("nan")}, {"exp": 1e300}])
def test_claims_that_make_no_sense_are_the_archives_fault(reply: Reply, claims: dict[str, Any]) -> None:
    with pytest.raises(BrokenError):
        read_work_order_token(reply(201, sealed(token(**claims))), OURS)


@pytest.mark.parametrize(("status", "kind"), [(401, TokenRefusedError), (403, RefusedError), (404, RefusedError)])
def test_any_other_status_is_a_refusal(reply: Reply, status: int, kind: type[RefusedError]) -> None:
    with pytest.raises(kind) as caught:
        read_work_order_token(reply(status, {"exception_id": "x", "description": "y"}), OURS)
    assert caught.value.status == status


def test_it_does_not_show_itself(reply: Reply) -> None:
    assert token() not in repr(read_work_order_token(reply(201, sealed(token())), OURS))
