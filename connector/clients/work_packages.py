"""The work package service (WPS): work packages and work order tokens."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from uuid import UUID

from connector.clients.api_client import ApiClient, CachedValue, Expiring
from connector.clients.api_transport import ApiReply, ApiRequest, error_from_response, path_segment
from connector.crypt4gh.keys import KeyPair, open_text
from connector.errors import BrokenError, RefusedError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import WorkOrderRequest, WorkPackage, WorkType, parse_json, parse_payload, write_payload
from connector.wire.tokens import AccessToken, WorkOrderToken, check_recipient, read_claims

DEFAULT_TOKEN_LIFETIME = 30.0
"""Seconds; for a service that does not state the lifetime of its tokens."""
_MAX_TOKENS = 512
"""Tokens that are kept at most: more than all open transfers need."""
_SWEEP_FROM = 256
"""Number of tokens from which expired ones are dropped."""


def build_package_request(api_url: str, package_id: str, bearer: str) -> ApiRequest:
    """Request a work package."""
    return ApiRequest("GET", f"{api_url}/work-packages/{path_segment(package_id)}", token=bearer)


def read_package(reply: ApiReply) -> WorkPackage:
    """Read a work package; `RefusedError` if the access token is wrong or has expired."""
    if reply.status in (401, 403):
        raise RefusedError(
            "The archive does not accept your access token.",
            hint="It may have expired, or belong to another key pair: ask for a new one.",
            status=reply.status,
        )
    if reply.status != 200:
        raise error_from_response(reply, "open the work package")
    return parse_payload(reply.body, WorkPackage, what="The work package service")


def build_download_token_request(api_url: str, package_id: str, bearer: str, accession: str) -> ApiRequest:
    """Request a token to download one file."""
    package = path_segment(package_id)
    url = f"{api_url}/work-packages/{package}/files/{path_segment(accession)}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer)


def build_box_token_request(
    api_url: str, package_id: str, bearer: str, research_box: UUID, order: WorkOrderRequest
) -> ApiRequest:
    """Request a token for one operation on an upload box (by the research data upload box's id)."""
    package = path_segment(package_id)
    url = f"{api_url}/work-packages/{package}/boxes/{research_box}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer, data=write_payload(order))


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
        return await self._api.call(
            lambda: build_package_request(self._api_url, self._access.package_id, self._bearer()), read_package
        )

    def download_token(self, accession: str) -> CachedValue[WorkOrderToken]:
        """The token to download one file, cached for its lifetime; nothing is fetched yet."""
        return self._cached_token(
            ("download", accession),
            lambda: build_download_token_request(self._api_url, self._access.package_id, self._bearer(), accession),
        )

    def box_token(
        self, research_box: UUID, work_type: WorkType, *, alias: str | None = None, file_id: UUID | None = None
    ) -> CachedValue[WorkOrderToken]:
        """The token for one kind of operation on a box or a file in it; nothing is fetched yet."""
        order = WorkOrderRequest(work_type, alias, file_id)
        return self._cached_token(
            (research_box, order),
            lambda: build_box_token_request(
                self._api_url, self._access.package_id, self._bearer(), research_box, order
            ),
        )

    def _cached_token(self, key: Hashable, build: Callable[[], ApiRequest]) -> CachedValue[WorkOrderToken]:
        async def fetch() -> Expiring[WorkOrderToken]:
            return await self._api.call(build, lambda reply: read_work_order_token(reply, self._keys))

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

    @property
    def _api_url(self) -> str:
        return self._current_url().rstrip("/")

    def _bearer(self) -> str:
        if self._secret is None:
            self._secret = self._access.bearer(self._keys.private)
        return self._secret
