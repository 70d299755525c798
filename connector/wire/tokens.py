"""The tokens of a user: access tokens, and work order tokens (JWT), which a client reads without verifying them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import attrs

from connector.crypt4gh.keys import open_text
from connector.errors import RefusedError, UsageError
from connector.wire.payloads import read_payload

_ACCESS_TOKEN = re.compile(r"([A-Za-z0-9-]{1,64}):([A-Za-z0-9+/]+={0,2})")


@attrs.frozen
class AccessToken:
    """The access token of a work package: its id, and a secret sealed (base64) to the user's public key."""

    package_id: str
    sealed: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> AccessToken:
        """Parse the string that users get; `UsageError` if its form is not valid."""
        match = _ACCESS_TOKEN.fullmatch("".join(text.split()))
        if match is None:
            raise UsageError(
                "The access token is not of the form PACKAGE_ID:ENCRYPTED.",
                hint="Copy the whole token that you got for the work package.",
            )
        return cls(match[1], match[2])

    def bearer(self, private_key: bytes) -> str:
        """Decrypt the secret with the user's private key; `RefusedError` if it is for a different key."""
        return open_text(self.sealed, private_key)


@attrs.frozen(eq=False)
class WorkOrderToken:
    """A decrypted work order token: valid for one kind of operation on one file or box."""

    token: str = attrs.field(repr=False)


@attrs.frozen
class WorkOrderClaims:
    """The claims that a client reads: the key that the token was issued for, and its lifetime (UNIX seconds)."""

    user_public_crypt4gh_key: str | None = None
    iat: float | None = None
    exp: float | None = None

    @property
    def lifetime(self) -> float | None:
        """Seconds from issue to expiry by the server's own clock, so that ours does not matter."""
        if self.iat is None or self.exp is None:
            return None
        return max(self.exp - self.iat, 0.0)


def read_claims(token: str) -> WorkOrderClaims:
    """Read the claims of a work order token without verifying it: only the archive holds the key for that.

    Raises:
        RefusedError: If this is no JWT.
        BrokenError: If its claims make no sense.
    """
    try:
        claims = _decode(token)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            "The archive sent a work order token that is no JSON Web Token.",
            hint="Tell the archive's operators.",
        ) from error
    known = {name: claims.get(name) for name in ("user_public_crypt4gh_key", "iat", "exp")}
    return read_payload(known, WorkOrderClaims, what="The work package service")


def _decode(token: str) -> dict[str, Any]:
    """The claims of a JWT in compact form (RFC 7519, section 3): the middle one of three base64url texts.

    PyJWT does the same and loads X.509 for it, a tenth of the time in which a command starts.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("a JWT has three parts")
    header, claims = (json.loads(_from_base64url(part)) for part in parts[:2])
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("header and claims of a JWT are objects")
    return claims


def _from_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def check_recipient(claims: WorkOrderClaims, public_key_base64: str) -> None:
    """Raise `RefusedError` if the token was issued for a different key than ours."""
    if claims.user_public_crypt4gh_key != public_key_base64:
        raise RefusedError(
            "The work package was issued for a different Crypt4GH key than yours.",
            hint="Use the key pair that you registered, or ask for a work package for this one.",
        )
