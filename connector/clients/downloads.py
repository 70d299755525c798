"""The download API (DCS, GA4GH DRS): objects, envelopes, and the wait while a file is staged."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from functools import partial

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiRequest, error_from_response, path_segment
from connector.errors import BrokenError
from connector.transfer import NotReadyError
from connector.wire.lifetimes import presigned_lifetime, response_lifetime, retry_after, usable_seconds
from connector.wire.payloads import DrsObject, parse_payload

USUAL_URL_LIFETIME = 60.0
"""Seconds; for an archive that does not state the lifetime of its URLs."""
_SIZES = 2**63
"""Beyond what any file system can address."""
USUAL_STAGING_WAIT = 10.0
"""Seconds between requests to an archive that stages a file and does not state how long."""


def read_object(reply: ApiReply) -> Expiring[DrsObject]:
    """Read a DRS object with the lifetime of its URL; `NotReadyError` while the archive stages the file."""
    if reply.status == 202:
        wait = retry_after(reply.headers, reply.received)
        seconds = USUAL_STAGING_WAIT if wait is None else wait
        raise NotReadyError("The archive is staging the file.", seconds=seconds)
    if reply.status != 200:
        raise error_from_response(reply, "get the file's address")
    drs = parse_payload(reply.body, DrsObject, what="The download service")
    if not 0 < drs.size < _SIZES:
        raise BrokenError(
            f"The download service states a size that is not valid: {str(drs.size)[:40]} bytes.",
            hint="Tell the archive's operators.",
        )
    if drs.url is None:
        raise BrokenError("The download service names no address for the file.", hint="Tell the archive's operators.")
    fresh = response_lifetime(reply.headers, reply.received)
    signed = presigned_lifetime(drs.url, reply.headers, reply.received)
    seconds = usable_seconds([fresh, signed], otherwise=USUAL_URL_LIFETIME)
    return Expiring(drs, seconds, reply.asked)


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
        raise BrokenError("The download service sent no valid envelope.", hint="Tell the archive's operators.") from (
            error
        )


class DownloadClient:
    """The client of one download service. `api_url` returns its present address."""

    def __init__(self, api: ApiClient, api_url: Callable[[], str]) -> None:
        self._api = api
        self._current_url = api_url

    async def object(self, token: CachedValue[WorkOrderToken], accession: str) -> Expiring[DrsObject]:
        """The file's DRS object; `NotReadyError` with the time until the next request while the file is staged."""
        return await self._api.authorized(token, partial(self._request, accession, ""), read_object)

    async def envelope(self, token: CachedValue[WorkOrderToken], accession: str) -> bytes:
        """The file's envelope (Crypt4GH header), encrypted for the key in the token."""
        return await self._api.authorized(token, partial(self._request, accession, "/envelopes"), read_envelope)

    def _request(self, accession: str, of_object: str, token: str) -> ApiRequest:
        url = f"{self._current_url().rstrip('/')}/objects/{path_segment(accession)}{of_object}"
        return ApiRequest("GET", url, token=token)
