from __future__ import annotations

import base64
import json
import math
from contextlib import suppress
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clients.work_packages import WorkOrderClaims, check_recipient, read_claims
from connector.errors import ConnectorError, RefusedError

SECRET = "a secret that only the archive has"


def token(**claims: Any) -> str:
    return jwt.encode(claims, SECRET, algorithm="HS256")


def raw_token(payload: bytes, header: bytes = b'{"alg":"ES256","typ":"JWT"}') -> str:
    return ".".join(base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in (header, payload, b"sign"))


def test_the_claims_are_read_without_the_archives_key() -> None:
    claims = read_claims(token(work_type="upload", user_public_crypt4gh_key="a2V5", iat=1000, exp=1030))
    assert claims == WorkOrderClaims("a2V5", 1000, 1030)
    assert claims.lifetime == 30.0


def test_the_lifetime_does_not_depend_on_our_clock() -> None:
    for issued in (0, 10**9, 4 * 10**9):
        assert read_claims(token(iat=issued, exp=issued + 3)).lifetime == 3.0


@pytest.mark.parametrize(
    ("claims", "lifetime"),
    [
        ({}, None),
        ({"iat": 5}, None),
        ({"exp": 5}, None),
        ({"iat": 10, "exp": 5}, 0.0),
        ({"iat": 10.25, "exp": 12.75}, 2.5),
    ],
)
def test_a_lifetime_is_what_is_stated_and_never_negative(claims: dict[str, Any], lifetime: float | None) -> None:
    assert read_claims(token(**claims)).lifetime == lifetime


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iat": NaN, "exp": 5}',
        b'{"iat": 0, "exp": Infinity}',
        b'{"iat": 0, "exp": 1e999}',
        b'{"iat": 0, "exp": 1' + b"0" * 400 + b"}",
        b'{"iat": "0", "exp": "30"}',
        b'{"iat": true, "exp": 30}',
        b'{"user_public_crypt4gh_key": 5}',
        b'{"user_public_crypt4gh_key": ["a2V5"]}',
    ],
)
def test_claims_that_make_no_sense_are_an_error_of_ours(payload: bytes) -> None:
    with pytest.raises(ConnectorError):
        read_claims(raw_token(payload))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no token",
        "a.b.c",
        "....",
        "é.é.é",
        "\ud800.\ud800.\ud800",
        raw_token(b"[]"),
        raw_token(b"5"),
        raw_token(b"[" * 100_000),
        raw_token(b"1" * 10_000),
        raw_token(b"{}", header=b"[]"),
        raw_token(b"{}", header=b"[" * 100_000),
        raw_token(b"{}", header=b"1" * 10_000),
    ],
    ids=range(13),
)
def test_what_is_no_token_is_refused_by_a_sentence(text: str) -> None:
    with pytest.raises(RefusedError, match="JSON Web Token"):
        read_claims(text)


def test_a_token_for_our_key_passes_and_for_another_is_told() -> None:
    check_recipient(read_claims(token(user_public_crypt4gh_key="a2V5")), "a2V5")
    for claims in (token(user_public_crypt4gh_key="b3RoZXI="), token()):
        with pytest.raises(RefusedError, match="different Crypt4GH key") as caught:
            check_recipient(read_claims(claims), "a2V5")
        assert caught.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
claim_sets = st.dictionaries(st.sampled_from(["iat", "exp", "nbf", "user_public_crypt4gh_key"]), json_values)
header_sets = st.dictionaries(st.sampled_from(["alg", "typ", "b64", "crit", "kid"]), json_values)


@given(
    st.text(max_size=60)
    | st.lists(st.binary(max_size=20), max_size=4).map(
        lambda pieces: ".".join(base64.urlsafe_b64encode(piece).decode() for piece in pieces)
    )
    | st.tuples(claim_sets, header_sets).map(lambda both: raw_token(*(json.dumps(piece).encode() for piece in both)))
)
@settings(max_examples=200)
def test_whatever_comes_only_our_errors_leave(text: str) -> None:
    with suppress(ConnectorError):
        lifetime = read_claims(text).lifetime
        assert lifetime is None or (math.isfinite(lifetime) and lifetime >= 0)
