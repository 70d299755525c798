"""The work package service (WPS): what was granted, and tokens to use it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from urllib.parse import quote
from uuid import UUID

from connector.clients.api_client import ApiClient
from connector.clients.cached_value import CachedValue, Expiring
from connector.clients.exchange import ApiReply, ApiRequest
from connector.clients.refusals import error_from_response
from connector.crypt4gh.keys import KeyPair, open_text
from connector.errors import BrokenError, RefusedError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import WorkOrderRequest, WorkPackage, WorkType, parse_json, parse_payload, write_payload
from connector.wire.tokens import AccessToken, WorkOrderToken, check_recipient, read_claims

DEFAULT_TOKEN_LIFETIME = 30.0
"""Seconds; for a service that does not say how long its tokens live."""
_MAX_TOKENS = 512
"""Tokens that are kept at most: more than the transfers that are open at once need."""
_SWEEP_FROM = 256
"""Tokens from which on the expired ones are looked for and dropped."""


def build_package_request(api_url: str, package_id: str, bearer: str) -> ApiRequest:
    """Ask for a work package."""
    return ApiRequest("GET", f"{api_url}/work-packages/{quote(package_id, safe='')}", token=bearer)


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
    """Ask for a token to download one file."""
    package = quote(package_id, safe="")
    url = f"{api_url}/work-packages/{package}/files/{quote(accession, safe='')}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer)


def build_box_token_request(
    api_url: str, package_id: str, bearer: str, research_box: UUID, order: WorkOrderRequest
) -> ApiRequest:
    """Ask for a token for one operation on an upload box (the research data upload box's id goes here)."""
    package = quote(package_id, safe="")
    url = f"{api_url}/work-packages/{package}/boxes/{research_box}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer, data=write_payload(order))


def read_work_order_token(reply: ApiReply, keys: KeyPair) -> Expiring[WorkOrderToken]:
    """Read the answer to a request for a work order token.

    The token lives as long as the shorter of its own claims and the response's freshness says. Raises
    `RefusedError` if it is refused, or was issued for a different key than `keys`.
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
    """Speaks to one work package service about one work package.

    `access` is the user's token, `keys` the key pair it was sealed to, and `api_url` gives the service's address
    as it is known at the moment. The token of an operation is shared by all its requests.
    """

    def __init__(self, caller: ApiClient, api_url: Callable[[], str], access: AccessToken, keys: KeyPair) -> None:
        self._caller = caller
        self._current_url = api_url
        self._access = access
        self._keys = keys
        self._opened: str | None = None
        self._orders: dict[Hashable, CachedValue[WorkOrderToken]] = {}
        self._most_orders = _SWEEP_FROM

    async def package(self) -> WorkPackage:
        """What the package grants."""
        return await self._caller.call(
            lambda: build_package_request(self._api_url, self._access.package_id, self._bearer()), read_package
        )

    def download_token(self, accession: str) -> CachedValue[WorkOrderToken]:
        """The token to download one file, cached for its lifetime; nothing is fetched yet."""
        return self._order(
            ("download", accession),
            lambda: build_download_token_request(self._api_url, self._access.package_id, self._bearer(), accession),
        )

    def box_token(
        self, research_box: UUID, work_type: WorkType, *, alias: str | None = None, file_id: UUID | None = None
    ) -> CachedValue[WorkOrderToken]:
        """The token for one kind of operation on a box or a file in it; nothing is fetched yet."""
        order = WorkOrderRequest(work_type, alias, file_id)
        return self._order(
            (research_box, order),
            lambda: build_box_token_request(
                self._api_url, self._access.package_id, self._bearer(), research_box, order
            ),
        )

    def _order(self, key: Hashable, build: Callable[[], ApiRequest]) -> CachedValue[WorkOrderToken]:
        async def fetch() -> Expiring[WorkOrderToken]:
            return await self._caller.call(build, lambda reply: read_work_order_token(reply, self._keys))

        order = self._orders.get(key)
        if order is None:
            self._forget_expired()
            order = self._orders[key] = CachedValue(fetch)
        return order

    def _forget_expired(self) -> None:
        """Keep no more than twice as many tokens as are in use at once, however many files there are.

        Of those only the newest: very many small files take thousands of tokens before the first one expires. A
        transfer that still needs an older one holds it.
        """
        if len(self._orders) >= self._most_orders:
            in_use = [(key, order) for key, order in self._orders.items() if order.in_use]
            self._orders = dict(in_use[-_MAX_TOKENS:])
            self._most_orders = max(_SWEEP_FROM, 2 * len(self._orders))

    @property
    def _api_url(self) -> str:
        return self._current_url().rstrip("/")

    def _bearer(self) -> str:
        if self._opened is None:
            self._opened = self._access.bearer(self._keys.private)
        return self._opened
