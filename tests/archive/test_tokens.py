from __future__ import annotations

import base64

import attrs
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.errors import Unauthenticated
from connector.archive.tokens import TokenIssuer, WorkOrder
from tests.support.memory_archive import ManualClock

KEY = base64.b64encode(bytes(32)).decode()
ORDER = WorkOrder("upload", KEY, box_id="box", file_id="file")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signing_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def issuer(clock: ManualClock, signing_key: ec.EllipticCurvePrivateKey) -> TokenIssuer:
    return TokenIssuer(signing_key, lifetime=30, clock=clock)


def test_claims_are_those_of_the_order_and_nothing_else(issuer: TokenIssuer, clock: ManualClock) -> None:
    claims = jwt.decode(issuer.issue(ORDER), options={"verify_signature": False})
    assert claims == {
        "work_type": "upload",
        "box_id": "box",
        "file_id": "file",
        "user_public_crypt4gh_key": KEY,
        "iat": int(clock.now),
        "exp": int(clock.now) + 30,
    }


def test_header_names_es256(issuer: TokenIssuer) -> None:
    assert jwt.get_unverified_header(issuer.issue(ORDER))["alg"] == "ES256"


def test_a_token_is_valid_until_the_last_second(
    issuer: TokenIssuer, clock: ManualClock, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    token = issuer.issue(ORDER)
    clock.now += 29.9
    other_process = TokenIssuer(signing_key, lifetime=30, clock=clock)
    assert issuer.verify(token, "upload") == other_process.verify(token, "upload") == ORDER
    clock.now += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        issuer.verify(token, "upload")


def test_a_token_that_was_changed(issuer: TokenIssuer) -> None:
    token = issuer.issue(ORDER)
    head, claims, signature = token.split(".")
    for changed in (f"{head}.{claims}.", f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims[:-2]}.{signature}"):
        with pytest.raises(Unauthenticated, match="not valid"):
            issuer.verify(changed, "upload")


def test_other_work_is_not_allowed(issuer: TokenIssuer) -> None:
    with pytest.raises(Unauthenticated, match="upload"):
        issuer.verify(issuer.issue(ORDER), "close", "delete")


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é.é.é"])
def test_what_is_no_token(issuer: TokenIssuer, token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        issuer.verify(token, "upload")


def test_a_foreign_signature(issuer: TokenIssuer, clock: ManualClock) -> None:
    other = TokenIssuer(ec.generate_private_key(ec.SECP256R1()), lifetime=30, clock=clock)
    with pytest.raises(Unauthenticated, match="not valid"):
        issuer.verify(other.issue(ORDER), "upload")


def test_an_unsigned_token(issuer: TokenIssuer, clock: ManualClock) -> None:
    claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30}
    with pytest.raises(Unauthenticated):
        issuer.verify(jwt.encode(claims, None, algorithm="none"), "upload")


@pytest.mark.parametrize(
    "changes",
    [
        {"work_type": "everything"},
        {"user_public_crypt4gh_key": 5},
        {"user_public_crypt4gh_key": "AAAA"},
        {"user_public_crypt4gh_key": "***"},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"box_id": 7},
    ],
)
def test_odd_claims_under_a_good_signature(
    issuer: TokenIssuer, clock: ManualClock, signing_key: ec.EllipticCurvePrivateKey, changes: dict[str, object]
) -> None:
    claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30} | changes
    present = {name: value for name, value in claims.items() if value is not None}
    with pytest.raises(Unauthenticated):
        issuer.verify(jwt.encode(present, signing_key, algorithm="ES256"), "upload")
