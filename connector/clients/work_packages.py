"""The work package service (WPS): access tokens, work packages, and work order tokens (JWT), read but not verified."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Hashable
from typing import Any, Literal
from uuid import UUID

import attrs

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiRequest, error_from_response, path_segment
from connector.crypt4gh.keys import KeyPair, open_text
from connector.errors import BrokenError, RefusedError, UsageError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import (
    WorkOrderRequest,
    WorkPackage,
    WorkType,
    parse_json,
    parse_payload,
    read_payload,
    write_payload,
)

DEFAULT_TOKEN_LIFETIME = 30.0
"""Seconds; for a service that does not state the lifetime of its tokens."""
_MAX_TOKENS = 512
"""Tokens that are kept at most: more than all open transfers need."""
_SWEEP_FROM = 256
"""Number of tokens from which expired ones are dropped."""
_ACCESS_TOKEN = re.compile(r"([A-Za-z0-9-]{1,64}):([A-Za-z0-9+/]+={0,2})")


@attrs.frozen
class AccessToken:
    """The access token of a work package: its id, and a secret sealed (base64) to the user's public key."""

    package_id: str
    sealed: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> AccessToken:
        """Parse the string that users get; `UsageError` if its form is not valid, or it is none (`os.environ.get`)."""
        # Files of variables (`docker run --env-file`) and people keep quotes and line breaks.
        match = _ACCESS_TOKEN.fullmatch("".join((text or "").split()).strip("\"'"))
        if match is None:
            raise UsageError(
                "The access token is not of the form PACKAGE_ID:ENCRYPTED.",
                hint="Copy the whole token that you got for the work package.",
            )
        return cls(match[1], match[2])

    def bearer(self, private_key: bytes) -> str:
        """Decrypt the secret with the user's private key; `RefusedError` if it is for a different key."""
        return open_text(self.sealed, private_key)


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
    return read_payload(claims, WorkOrderClaims, what="The work package service")


def _decode(token: str) -> dict[str, Any]:
    """The claims of a JWT in compact form (RFC 7519, section 3): the middle one of three base64url texts.

    PyJWT does the same and loads X.509 for it, a tenth of the time in which a command starts.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("a JWT has three parts")
    header, claims = (
        json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)) for part in parts[:2]
    )
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("header and claims of a JWT are objects")
    return claims


def check_recipient(claims: WorkOrderClaims, public_key_base64: str) -> None:
    """Raise `RefusedError` if the token was issued for a different key than ours."""
    if claims.user_public_crypt4gh_key != public_key_base64:
        raise RefusedError(
            "The work package was issued for a different Crypt4GH key than yours.",
            hint="Use the key pair that you registered, or ask for a work package for this one.",
        )


def read_package(reply: ApiReply) -> WorkPackage:
    """Read a work package; `RefusedError` if the access token is wrong or has expired."""
    if reply.status in (401, 403):
        raise RefusedError(
            "The archive does not accept your access token.",
            hint="It may have expired, or belong to another key pair: ask for a new one.",
            status=reply.status,
        )
    if reply.status == 422:
        raise RefusedError(
            "The archive does not know a work package as your access token names it.",
            hint="Copy the whole token that you got for the work package, and nothing before it.",
            status=reply.status,
        )
    if reply.status != 200:
        raise error_from_response(reply, "open the work package")
    return parse_payload(reply.body, WorkPackage, what="The work package service")


def read_work_order_token(reply: ApiReply, keys: KeyPair) -> Expiring[WorkOrderToken]:
    """Read the response to a request for a work order token.

    The lifetime is the shorter one of its own claims and the response's freshness.

    Raises:
        RefusedError: If the request is rejected, or the token was issued for a different key than `keys`.
    """
    if reply.status != 201:
        raise error_from_response(reply, "get a work order token")
    sealed = parse_json(reply.body, what="The work package service")
    if not isinstance(sealed, str):
        raise BrokenError("The work package service sent no work order token.", hint="Tell the archive's operators.")
    token = open_text(sealed, keys.private)
    claims = read_claims(token)
    check_recipient(claims, keys.public_base64)
    fresh = response_lifetime(reply.headers, reply.received)
    seconds = usable_seconds([claims.lifetime, fresh], otherwise=DEFAULT_TOKEN_LIFETIME)
    return Expiring(WorkOrderToken(token), seconds, reply.asked)


class WorkPackageClient:
    """The client of one work package service and one work package.

    `access` is the user's token, `keys` the key pair that it is encrypted for; `api_url` returns the service's present
    address. The token of an operation is shared by all its requests.
    """

    def __init__(self, api: ApiClient, api_url: Callable[[], str], access: AccessToken, keys: KeyPair) -> None:
        self._api = api
        self._current_url = api_url
        self._access = access
        self._keys = keys
        self._secret: str | None = None
        self._tokens: dict[Hashable, CachedValue[WorkOrderToken]] = {}
        self._sweep_at = _SWEEP_FROM

    async def package(self) -> WorkPackage:
        """The work package."""
        return await self._api.call(lambda: self._request("GET"), read_package)

    def download_token(self, accession: str) -> CachedValue[WorkOrderToken]:
        """The token to download one file, cached for its lifetime; nothing is fetched yet."""
        return self._cached_token(("download", accession), f"files/{path_segment(accession)}")

    def box_token(
        self, research_box: UUID, work_type: WorkType, *, alias: str | None = None, file_id: UUID | None = None
    ) -> CachedValue[WorkOrderToken]:
        """The token for one kind of operation on a box (by the research data upload box's id) or a file in it; nothing
        is fetched yet."""
        order = WorkOrderRequest(work_type, alias, file_id)
        return self._cached_token((research_box, order), f"boxes/{research_box}", write_payload(order))

    def _cached_token(self, key: Hashable, subject: str, data: Any = None) -> CachedValue[WorkOrderToken]:
        """The token for a `subject`, a file or box of the package; `data` tells the operation."""

        async def fetch() -> Expiring[WorkOrderToken]:
            return await self._api.call(
                lambda: self._request("POST", f"/{subject}/work-order-tokens", data),
                lambda reply: read_work_order_token(reply, self._keys),
            )

        order = self._tokens.get(key)
        if order is None:
            self._forget_expired()
            order = self._tokens[key] = CachedValue(fetch)
        return order

    def _forget_expired(self) -> None:
        """Drop expired tokens, and of the others all but the newest.

        Very many small files take thousands of tokens before the first one expires. A transfer that still needs an
        older one has a reference to it.
        """
        if len(self._tokens) >= self._sweep_at:
            in_use = [(key, order) for key, order in self._tokens.items() if order.in_use]
            self._tokens = dict(in_use[-_MAX_TOKENS:])
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._tokens))

    def _request(self, method: Literal["GET", "POST"], of_package: str = "", data: Any = None) -> ApiRequest:
        if self._secret is None:
            self._secret = self._access.bearer(self._keys.private)
        package = f"{self._current_url().rstrip('/')}/work-packages/{path_segment(self._access.package_id)}"
        return ApiRequest(method, package + of_package, token=self._secret, data=data)
