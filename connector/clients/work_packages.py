"""The work package service (WPS): what was granted, and tokens to use it."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from connector.clients.access_token import AccessToken
from connector.clients.caller import Caller
from connector.clients.exchange import ApiReply, ApiRequest
from connector.clients.leases import Lease, Lent
from connector.clients.refusals import refusal
from connector.clients.work_orders import WorkOrder, read_work_order
from connector.core.payloads import WorkOrderRequest, WorkPackage, WorkType, parse_payload, write_payload
from connector.errors import RefusedError
from connector.local.key_files import KeyPair


def build_package_request(api_url: str, package_id: str, bearer: str) -> ApiRequest:
    """Ask for a work package."""
    return ApiRequest("GET", f"{api_url}/work-packages/{quote(package_id, safe='')}", token=bearer)


def read_package(reply: ApiReply) -> WorkPackage:
    """Read a work package; :class:`~connector.errors.RefusedError` if the access token is wrong or has expired."""
    if reply.status in (401, 403):
        raise RefusedError(
            "The archive does not accept your access token.",
            hint="It may have expired, or belong to another key pair: ask for a new one.",
            status=reply.status,
        )
    if reply.status != 200:
        raise refusal(reply, "open the work package")
    return parse_payload(reply.body, WorkPackage, what="The work package service")


def build_download_order(api_url: str, package_id: str, bearer: str, accession: str) -> ApiRequest:
    """Ask for a token to download one file."""
    package = quote(package_id, safe="")
    url = f"{api_url}/work-packages/{package}/files/{quote(accession, safe='')}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer)


def build_box_order(
    api_url: str, package_id: str, bearer: str, research_box: UUID, order: WorkOrderRequest
) -> ApiRequest:
    """Ask for a token for one operation on an upload box (the research data upload box's id goes here)."""
    package = quote(package_id, safe="")
    url = f"{api_url}/work-packages/{package}/boxes/{research_box}/work-order-tokens"
    return ApiRequest("POST", url, token=bearer, data=write_payload(order))


class WorkPackageClient:
    """Speaks to one work package service about one work package.

    ``access`` is the user's token, ``keys`` the key pair it was sealed to.
    """

    def __init__(self, caller: Caller, api_url: str, access: AccessToken, keys: KeyPair) -> None:
        self._caller = caller
        self._api_url = api_url.rstrip("/")
        self._access = access
        self._keys = keys
        self._opened: str | None = None

    async def package(self) -> WorkPackage:
        """What the package grants."""
        request = build_package_request(self._api_url, self._access.package_id, self._bearer())
        return await self._caller.call(request, read_package)

    def download_order(self, accession: str) -> Lease[WorkOrder]:
        """A lease of the token to download one file; nothing is fetched yet."""
        request = build_download_order(self._api_url, self._access.package_id, self._bearer(), accession)
        return self._lease(request)

    def box_order(
        self, research_box: UUID, work_type: WorkType, *, alias: str | None = None, file_id: UUID | None = None
    ) -> Lease[WorkOrder]:
        """A lease of the token for one kind of operation on a box or a file in it; nothing is fetched yet."""
        order = WorkOrderRequest(work_type, alias, file_id)
        request = build_box_order(self._api_url, self._access.package_id, self._bearer(), research_box, order)
        return self._lease(request)

    def _lease(self, request: ApiRequest) -> Lease[WorkOrder]:
        async def fetch() -> Lent[WorkOrder]:
            return await self._caller.call(request, lambda reply: read_work_order(reply, self._keys))

        return Lease(fetch)

    def _bearer(self) -> str:
        if self._opened is None:
            self._opened = self._access.bearer(self._keys.private)
        return self._opened
