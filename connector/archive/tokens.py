"""Work order tokens: short-lived ES256 JSON Web Tokens, each for one operation on one file or box."""

from __future__ import annotations

import base64
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.errors import Unauthenticated
from connector.archive.settings import Clock
from connector.errors import BrokenError
from connector.wire.payloads import WorkType, read_payload

_ALGORITHM = "ES256"


@attrs.frozen
class WorkOrder:
    """What a token permits: one `work_type` for the owner of one Crypt4GH key (base64).

    A download has `accession` and `file_id`; an upload `box_id` and either `alias` or `file_id`.
    """

    work_type: WorkType
    user_public_crypt4gh_key: str
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
        signing_key: The ES256 key of the signatures.
        lifetime: Seconds for which a token is valid.
        clock: The time in seconds since the epoch.
    """

    def __init__(self, signing_key: ec.EllipticCurvePrivateKey, *, lifetime: int, clock: Clock) -> None:
        self._signing_key = signing_key
        self._public_key = signing_key.public_key()
        self.lifetime = lifetime
        self._clock = clock

    def issue(self, order: WorkOrder) -> str:
        """Return a signed token with the claims of `order`, `iat` and `exp`."""
        now = int(self._clock())
        claims = {name: value for name, value in attrs.asdict(order).items() if value is not None}
        claims |= {"iat": now, "exp": now + self.lifetime}
        return jwt.encode(claims, self._signing_key, algorithm=_ALGORITHM)

    def verify(self, token: str | None, *allowed: WorkType) -> WorkOrder:
        """Return the work order of a valid token.

        Raises:
            Unauthenticated: The token is missing, not one of this archive, expired, or not of an `allowed` type.
        """
        if not token:
            raise Unauthenticated("A work order token is needed.")
        try:
            # The library would compare the times with its own clock.
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public_key,
                algorithms=[_ALGORITHM],
                options={"require": ["iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
            order, expires = read_payload(claims, WorkOrder), float(claims["exp"])
            if len(order.user_public_key) != 32:
                raise ValueError("the user's key has not 32 bytes")
        except (jwt.InvalidTokenError, BrokenError, TypeError, ValueError) as error:
            raise Unauthenticated("The work order token is not valid.") from error
        if self._clock() >= expires:
            raise Unauthenticated("The work order token has expired.")
        if order.work_type not in allowed:
            raise Unauthenticated(f"A work order token for {order.work_type!r} does not allow this.")
        return order
