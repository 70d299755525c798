"""Work order tokens: short-lived ES256 JSON Web Tokens, each for one operation on one file or box."""

from __future__ import annotations

import base64
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.errors import Unauthenticated
from connector.archive.key_ring import MAX_AGE, SIGNATURE_VALID, KeyRing, RingKey
from connector.archive.settings import Clock, utc_now
from connector.errors import BrokenError
from connector.wire.payloads import WorkType, read_payload

_ALGORITHM = "ES256"
_PACKAGE = "work_package_id"


@attrs.frozen
class WorkOrder:
    """What a token permits: one `work_type` for the owner of one Crypt4GH key (base64).

    A download has `accession` and `file_id`; an upload `box_id` and either `alias` or `file_id`. The work package is
    that from which it was issued: it is valid as long as that is.
    """

    work_type: WorkType
    user_public_crypt4gh_key: str
    work_package_id: str
    box_id: str | None = None
    alias: str | None = None
    file_id: str | None = None
    accession: str | None = None

    @property
    def user_public_key(self) -> bytes:
        """The user's public key, 32 bytes."""
        return base64.b64decode(self.user_public_crypt4gh_key)


class TokenIssuer:
    """Issues and verifies the work order tokens of one archive.

    Args:
        ring: Holds the ES256 keys of the signatures. Tokens name theirs (`kid`).
        lifetime: Seconds for which a token is valid.
        leeway: Seconds for which it is accepted beyond that, since the clocks of hosts differ.
        clock: The time in seconds since the epoch.
    """

    def __init__(self, ring: KeyRing, *, lifetime: int, leeway: int, clock: Clock) -> None:
        self._ring = ring
        self.lifetime = lifetime
        self._leeway = leeway
        self._clock = clock
        self._loaded: dict[str, ec.EllipticCurvePrivateKey] = {}

    async def issue(self, order: WorkOrder) -> str:
        """Return a signed token with the claims of `order`, `iat` and `exp`."""
        await self._ring.refresh(MAX_AGE)
        key = self._ring.current("signing")
        now = int(self._clock())
        claims = {name: value for name, value in attrs.asdict(order).items() if value is not None}
        # In the header, which is signed, too: the claims are those of the contract and no others.
        headers = {"kid": key.id, _PACKAGE: claims.pop("work_package_id")}
        claims |= {"iat": now, "exp": now + self.lifetime}
        return jwt.encode(claims, self._load(key), algorithm=_ALGORITHM, headers=headers)

    async def verify(self, token: str | None, *allowed: WorkType) -> WorkOrder:
        """Return the work order of a valid token.

        Raises:
            Unauthenticated: The token is missing, not one of this archive, expired, or not of an `allowed` type.
        """
        if not token:
            raise Unauthenticated("A work order token is needed.")
        try:
            header = jwt.get_unverified_header(token)
            # The library would compare the times with its own clock.
            claims: dict[str, Any] = jwt.decode(
                token,
                await self._find_key(header.get("kid")),
                algorithms=[_ALGORITHM],
                options={"require": ["iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
            order = read_payload({**claims, "work_package_id": header.get(_PACKAGE)}, WorkOrder)
            expires = float(claims["exp"])
            if len(order.user_public_key) != 32:
                raise ValueError("the user's key has not 32 bytes")
        except (jwt.InvalidTokenError, BrokenError, TypeError, ValueError) as error:
            raise Unauthenticated("The work order token is not valid.") from error
        if self._clock() >= expires + self._leeway:
            raise Unauthenticated("The work order token has expired.")
        if order.work_type not in allowed:
            raise Unauthenticated(f"A work order token for {order.work_type!r} does not allow this.")
        return order

    async def _find_key(self, key_id: object) -> ec.EllipticCurvePublicKey:
        """The public key with this id; `Unauthenticated`."""
        await self._ring.refresh(MAX_AGE)
        key = self._ring.find("signing", key_id)
        if key is None:
            await self._ring.refresh()  # another process may have rotated it just now
            key = self._ring.find("signing", key_id)
        # An old key that was not removed is accepted no longer than the tokens that it has signed in its time live.
        if key is None or (key.superseded is not None and utc_now(self._clock) > key.superseded + SIGNATURE_VALID):
            raise Unauthenticated("The work order token is not valid: it was signed with another key.")
        return self._load(key).public_key()

    def _load(self, key: RingKey) -> ec.EllipticCurvePrivateKey:
        if key.id not in self._loaded:
            loaded = serialization.load_der_private_key(key.secret, password=None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)  # made by `new_signing_key`
            self._loaded[key.id] = loaded
        return self._loaded[key.id]
