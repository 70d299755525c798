"""Work order tokens: short-lived ES256 JSON Web Tokens, each for one operation on one file or box."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.errors import Unauthenticated
from connector.archive.recently_used import LruCache
from connector.archive.settings import Clock
from connector.errors import BrokenError
from connector.wire.payloads import WorkType, read_payload

_ALGORITHM = "ES256"
_KNOWN_TOKENS = 1024


@attrs.frozen
class WorkOrder:
    """What a token permits: one ``work_type`` for the owner of one Crypt4GH key (base64).

    ``accession`` and ``file_id`` belong to downloads; ``box_id`` and either ``alias`` or ``file_id`` to uploads.
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


@attrs.frozen
class _Checked:
    """What a token says whose signature is good, and until when (seconds since the epoch)."""

    order: WorkOrder
    expires: float


class TokenIssuer:
    """Makes and checks the work order tokens of one archive.

    Those it made last are known by heart: nearly every token comes back within seconds to the process that made it, and
    reading one and checking its signature is a good part of what a short call takes.
    """

    def __init__(self, signing_key: ec.EllipticCurvePrivateKey, *, lifetime: int, clock: Clock) -> None:
        self._signing_key = signing_key
        self._public_key = signing_key.public_key()
        self.lifetime = lifetime
        self._clock = clock
        self._known = LruCache[_Checked](_KNOWN_TOKENS)

    def mint(self, order: WorkOrder) -> str:
        """A signed token with the claims of ``order``, ``iat`` and ``exp``."""
        now = int(self._clock())
        claims = {name: value for name, value in attrs.asdict(order).items() if value is not None}
        claims |= {"iat": now, "exp": now + self.lifetime}
        token = jwt.encode(claims, self._signing_key, algorithm=_ALGORITHM)
        self._known.put(token, _Checked(order, now + self.lifetime))
        return token

    def verify(self, token: str | None, *allowed: WorkType) -> WorkOrder:
        """The order of a token that is ours, still good, and of one of the ``allowed`` types.

        Raises :class:`~connector.archive.errors.Unauthenticated` otherwise.
        """
        if not token:
            raise Unauthenticated("A work order token is needed.")
        checked = self._known.get(token) or self._check(token)
        if self._clock() >= checked.expires:
            raise Unauthenticated("The work order token has expired.")
        order = checked.order
        if order.work_type not in allowed:
            raise Unauthenticated(f"A work order token for {order.work_type!r} does not allow this.")
        return order

    def _check(self, token: str) -> _Checked:
        try:
            # The library would look at its own clock; the caller looks at ours.
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public_key,
                algorithms=[_ALGORITHM],
                options={"require": ["iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
            return _Checked(_read_claims(claims), float(claims["exp"]))
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise Unauthenticated("The work order token is not valid.") from error


def _read_claims(claims: dict[str, Any]) -> WorkOrder:
    try:
        order = read_payload(claims, WorkOrder)
    except BrokenError as error:
        raise ValueError("the claims are not those of a work order") from error
    try:
        if len(order.user_public_key) != 32:
            raise ValueError("the user's key has not 32 bytes")
    except binascii.Error as error:
        raise ValueError("the user's key is not base64") from error
    return order
