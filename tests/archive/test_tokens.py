from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import attrs
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.assembly import open_key_ring
from connector.archive.errors import Unauthenticated
from connector.archive.key_ring import SIGNATURE_VALID, KeyRing
from connector.archive.key_rotation import new_signing_key
from connector.archive.tokens import TokenIssuer, WorkOrder
from persistence.documents.memory import MemoryDaoFactory
from tests.support.memory_archive import ManualClock, memory_ring

pytestmark = pytest.mark.trio

KEY = base64.b64encode(bytes(32)).decode()
ORDER = WorkOrder("upload", KEY, "package", box_id="box", file_id="file")


@pytest.fixture
async def documents() -> AsyncIterator[MemoryDaoFactory]:
    async with MemoryDaoFactory() as opened:
        yield opened


@pytest.fixture
async def ring(documents: MemoryDaoFactory) -> KeyRing:
    return await memory_ring(documents)


@pytest.fixture
async def clock(documents: MemoryDaoFactory) -> ManualClock:
    return ManualClock((await documents.now()).timestamp())


@pytest.fixture
def issuer(clock: ManualClock, ring: KeyRing) -> TokenIssuer:
    return TokenIssuer(ring, lifetime=30, leeway=10, clock=clock)


def sign(claims: dict[str, object], ring: KeyRing, **headers: object) -> str:
    """A token with these claims under the current key."""
    key = ring.current("signing")
    private = serialization.load_der_private_key(key.secret, password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    ids = {"kid": key.id, "work_package_id": "package"}
    return jwt.encode(claims, private, algorithm="ES256", headers={**ids, **headers})


async def test_claims_are_those_of_the_order_and_nothing_else(issuer: TokenIssuer, clock: ManualClock) -> None:
    claims = jwt.decode(await issuer.issue(ORDER), options={"verify_signature": False})
    assert claims == {
        "work_type": "upload",
        "box_id": "box",
        "file_id": "file",
        "user_public_crypt4gh_key": KEY,
        "iat": int(clock.now),
        "exp": int(clock.now) + 30,
    }


async def test_header_names_es256_and_the_key(issuer: TokenIssuer, ring: KeyRing) -> None:
    header = jwt.get_unverified_header(await issuer.issue(ORDER))
    assert (header["alg"], header["kid"]) == ("ES256", ring.current("signing").id)
    assert header["work_package_id"] == "package"


async def test_a_token_is_valid_until_the_last_second_and_the_leeway(
    issuer: TokenIssuer, clock: ManualClock, ring: KeyRing
) -> None:
    clock.now = float(int(clock.now))
    token = await issuer.issue(ORDER)
    clock.now += 39.9
    other_process = TokenIssuer(ring, lifetime=30, leeway=10, clock=clock)
    assert await issuer.verify(token, "upload") == await other_process.verify(token, "upload") == ORDER
    with pytest.raises(Unauthenticated, match="expired"):
        await TokenIssuer(ring, lifetime=30, leeway=9, clock=clock).verify(token, "upload")
    clock.now += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        await issuer.verify(token, "upload")


async def test_a_token_that_was_changed(issuer: TokenIssuer) -> None:
    token = await issuer.issue(ORDER)
    head, claims, signature = token.split(".")
    for changed in (f"{head}.{claims}.", f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims[:-2]}.{signature}"):
        with pytest.raises(Unauthenticated, match="not valid"):
            await issuer.verify(changed, "upload")


async def test_other_work_is_not_allowed(issuer: TokenIssuer) -> None:
    with pytest.raises(Unauthenticated, match="upload"):
        await issuer.verify(await issuer.issue(ORDER), "close", "delete")


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é.é.é"])
async def test_what_is_no_token(issuer: TokenIssuer, token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        await issuer.verify(token, "upload")


async def test_a_foreign_signature(issuer: TokenIssuer, clock: ManualClock, ring: KeyRing) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30}
    for headers in ({}, {"kid": "another"}, {"kid": ring.current("signing").id}, {"kid": ring.current("url").id}):
        with pytest.raises(Unauthenticated, match="not valid"):
            await issuer.verify(jwt.encode(claims, foreign, algorithm="ES256", headers=headers), "upload")


async def test_an_unsigned_token_and_one_signed_with_public_values(
    issuer: TokenIssuer, clock: ManualClock, ring: KeyRing
) -> None:
    claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30}
    headers = {"kid": ring.current("signing").id}
    no_key: Any = None
    for forged in (
        jwt.encode(claims, no_key, algorithm="none", headers=headers),
        jwt.encode(claims, headers["kid"] * 2, algorithm="HS256", headers=headers),
    ):
        with pytest.raises(Unauthenticated):
            await issuer.verify(forged, "upload")


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
async def test_odd_claims_under_a_good_signature(
    issuer: TokenIssuer, clock: ManualClock, ring: KeyRing, changes: dict[str, object]
) -> None:
    good = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30}
    for claims, is_good in ((good, True), (good | changes, False)):
        token = sign({name: value for name, value in claims.items() if value is not None}, ring)
        if is_good:
            assert await issuer.verify(token, "upload") == ORDER
        else:
            with pytest.raises(Unauthenticated):
                await issuer.verify(token, "upload")


@pytest.mark.parametrize("package", [None, 7, ["package"]])
async def test_a_token_of_no_work_package(
    issuer: TokenIssuer, clock: ManualClock, ring: KeyRing, package: object
) -> None:
    claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 30}
    present = {name: value for name, value in claims.items() if value is not None}
    assert await issuer.verify(sign(present, ring), "upload") == ORDER
    with pytest.raises(Unauthenticated):
        await issuer.verify(sign(present, ring, work_package_id=package), "upload")


class TestRotation:
    async def test_tokens_of_both_keys_are_taken_also_by_a_process_that_has_not_heard_of_it(
        self, issuer: TokenIssuer, clock: ManualClock, ring: KeyRing, documents: MemoryDaoFactory
    ) -> None:
        another = await open_key_ring(documents, ring.masters)
        other_issuer = TokenIssuer(another, lifetime=30, leeway=10, clock=clock)
        before = await issuer.issue(ORDER)
        await ring.add("signing", new_signing_key())
        after = await issuer.issue(ORDER)
        assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]
        for token in (before, after, await other_issuer.issue(ORDER)):
            assert await other_issuer.verify(token, "upload") == await issuer.verify(token, "upload") == ORDER

    async def test_a_superseded_key_lapses(self, issuer: TokenIssuer, clock: ManualClock, ring: KeyRing) -> None:
        claims = attrs.asdict(ORDER) | {"iat": int(clock.now), "exp": int(clock.now) + 10**6}
        forged = sign({name: value for name, value in claims.items() if value is not None}, ring)
        await ring.add("signing", new_signing_key())
        assert await issuer.verify(forged, "upload") == ORDER
        clock.now += SIGNATURE_VALID.total_seconds() + 1
        with pytest.raises(Unauthenticated, match="another key"):
            await issuer.verify(forged, "upload")

    async def test_a_key_that_was_removed_is_refused(self, issuer: TokenIssuer, ring: KeyRing) -> None:
        token, old = await issuer.issue(ORDER), ring.current("signing").id
        await ring.add("signing", new_signing_key())
        await ring.remove(old)
        with pytest.raises(Unauthenticated, match="another key"):
            await issuer.verify(token, "upload")
