"""Well-known values: where the archive's APIs are, and the public keys of its data hubs; renewed in time."""

from __future__ import annotations

import base64
import binascii

import trio

from connector.clients.api_client import ApiClient
from connector.clients.cached_value import CachedValue, Expiring
from connector.clients.exchange import ApiReply, ApiRequest
from connector.clients.refusals import error_from_response
from connector.errors import BrokenError, ConnectorError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import WellKnownValues, parse_payload

USUAL_LIFETIME = 300.0
"""Seconds; for a service that does not say how long its values hold."""
SHORTEST_LIFETIME = 30.0
"""Seconds, also for values that must not be stored: a session holds them as its settings, not as a cache (RFC 9111,
section 6), and would ask for them at each call else."""
_RENEWAL_SECONDS = 10.0
"""For which the calls of a session wait for a renewal at most."""
_KEPT_SECONDS = 300.0
"""For which the old values are used until the next try, when a renewal failed."""


def build_values_request(wkvs_url: str) -> ApiRequest:
    """Ask for all values; `wkvs_url` as users know it, without `/values`."""
    return ApiRequest("GET", f"{wkvs_url.rstrip('/')}/values")


def read_values(reply: ApiReply) -> Expiring[WellKnownValues]:
    """Read them; raises `BrokenError` if this is not a well-known values service."""
    if reply.status != 200:
        raise error_from_response(reply, "read the archive's well-known values")
    values = parse_payload(reply.body, WellKnownValues, what=f"The well-known values service at {reply.server}")
    seconds = usable_seconds([response_lifetime(reply.headers, reply.received)], otherwise=USUAL_LIFETIME)
    return Expiring(values, max(seconds, SHORTEST_LIFETIME), reply.asked)


class WellKnown:
    """The values of one archive as a session uses them, which may take days: renewed by what they say of themselves.

    Once known, they stay in use while the service cannot be reached, as a stored response does in a cache that is
    disconnected (RFC 9111, section 4.2.4): a transfer does not end because its archive's address cannot be confirmed.
    `caller` is one that does not ask for these values itself.
    """

    def __init__(self, caller: ApiClient, wkvs_url: str) -> None:
        self._caller = caller
        self._request = build_values_request(wkvs_url)
        self._lease = CachedValue(self._fetch)
        self._values: WellKnownValues | None = None

    @property
    def values(self) -> WellKnownValues:
        """The values as they were known last."""
        assert self._values is not None, "refresh() comes first"
        return self._values

    async def refresh(self) -> None:
        """Fetch the values if there are none yet or their time is over; raises only if there are none yet."""
        self._values = await self._lease.get()

    async def hub_key(self, storage_alias: str) -> bytes:
        """The key of a data hub; one that is not known may be newer than the values, which are then fetched again."""
        values = self.values
        if storage_alias not in values.crypt4gh_public_keys:
            self._lease.refuse(values)
            await self.refresh()
        return hub_key(self.values, storage_alias)

    async def _fetch(self) -> Expiring[WellKnownValues]:
        known = self._values
        if known is None:
            return await self._caller.call(lambda: self._request, read_values)
        try:
            with trio.fail_after(_RENEWAL_SECONDS):
                return await self._caller.call(lambda: self._request, read_values, retry=False)
        except (ConnectorError, trio.TooSlowError):
            return Expiring(known, _KEPT_SECONDS)


def hub_key(values: WellKnownValues, storage_alias: str) -> bytes:
    """The 32 byte Crypt4GH public key of a data hub; `BrokenError` if there is none."""
    try:
        key = base64.b64decode(values.crypt4gh_public_keys[storage_alias], validate=True)
    except (KeyError, binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise BrokenError(
            f"The archive names no usable public key for its storage {storage_alias!r}.",
            hint="Tell the archive's operators.",
        )
    return key
