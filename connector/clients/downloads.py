"""The download API (DCS, GA4GH DRS): objects, envelopes, and the wait while a file is staged."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from urllib.parse import quote

import attrs

from connector.clients.api_client import ApiClient
from connector.clients.cached_value import CachedValue, Expiring
from connector.clients.exchange import ApiReply, ApiRequest
from connector.clients.refusals import error_from_response
from connector.errors import BrokenError
from connector.wire.lifetimes import presigned_lifetime, response_lifetime, retry_after, usable_seconds
from connector.wire.payloads import DrsObject, parse_payload
from connector.wire.tokens import WorkOrderToken

USUAL_URL_LIFETIME = 60.0
"""Seconds; for an archive that does not say how long its URLs live."""
_SIZES = 2**63
"""Beyond what any file system can address."""
USUAL_STAGING_WAIT = 10.0
"""Seconds between questions to an archive that stages a file and does not say how long."""


@attrs.frozen
class Staging:
    """The archive is staging the file; ask again after `seconds`."""

    seconds: float


def build_object_request(api_url: str, accession: str, token: str) -> ApiRequest:
    """Ask for a DRS object."""
    return ApiRequest("GET", f"{api_url}/objects/{quote(accession, safe='')}", token=token)


def read_object(reply: ApiReply) -> Expiring[DrsObject] | Staging:
    """Read a DRS object with the time its URL may be used, or the wait until it is staged."""
    if reply.status == 202:
        wait = retry_after(reply.headers, reply.received)
        return Staging(USUAL_STAGING_WAIT if wait is None else wait)
    if reply.status != 200:
        raise error_from_response(reply, "get the file's address")
    drs = parse_payload(reply.body, DrsObject, what="The download service")
    if not 0 < drs.size < _SIZES:
        raise BrokenError(
            f"The download service states a size that no file has: {str(drs.size)[:40]} bytes.",
            hint="Tell the archive's operators.",
        )
    if drs.url is None:
        raise BrokenError("The download service names no address for the file.", hint="Tell the archive's operators.")
    fresh = response_lifetime(reply.headers, reply.received)
    signed = presigned_lifetime(drs.url, reply.headers, reply.received)
    seconds = usable_seconds([fresh, signed], otherwise=USUAL_URL_LIFETIME)
    return Expiring(drs, seconds, reply.asked)


def build_envelope_request(api_url: str, accession: str, token: str) -> ApiRequest:
    """Ask for the envelope of a file, made for the key in the token."""
    return ApiRequest("GET", f"{api_url}/objects/{quote(accession, safe='')}/envelopes", token=token)


def read_envelope(reply: ApiReply) -> bytes:
    """Read an envelope: base64, as a JSON string or bare."""
    if reply.status != 200:
        raise error_from_response(reply, "get the file's envelope")
    text = reply.body.strip()
    try:
        if text[:1] == b'"':
            text = json.loads(text).encode()
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error, AttributeError) as error:
        raise BrokenError("The download service sent no usable envelope.", hint="Tell the archive's operators.") from (
            error
        )


class DownloadClient:
    """Speaks to one download service. `api_url` gives its address as it is known at the moment."""

    def __init__(self, caller: ApiClient, api_url: Callable[[], str]) -> None:
        self._caller = caller
        self._current_url = api_url

    @property
    def _api_url(self) -> str:
        return self._current_url().rstrip("/")

    async def object(self, order: CachedValue[WorkOrderToken], accession: str) -> Expiring[DrsObject] | Staging:
        """The file's DRS object, or how long to wait before asking again."""
        return await self._caller.authorized(
            order, lambda token: build_object_request(self._api_url, accession, token), read_object
        )

    async def envelope(self, order: CachedValue[WorkOrderToken], accession: str) -> bytes:
        """The file's envelope."""
        return await self._caller.authorized(
            order, lambda token: build_envelope_request(self._api_url, accession, token), read_envelope
        )
