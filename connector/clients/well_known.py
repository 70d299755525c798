"""Well-known values: the addresses of the archive's APIs and the public keys of its data hubs, renewed in time."""

from __future__ import annotations

import base64
import binascii

import trio

from connector.clients.api_client import ApiClient, CachedValue, Expiring
from connector.clients.api_transport import ApiReply, ApiRequest, error_from_response
from connector.errors import BrokenError, ConnectorError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import NOT_THE_ARCHIVE, WellKnownValues, parse_payload

USUAL_LIFETIME = 300.0
"""Seconds; for a service that does not state the lifetime of its values."""
SHORTEST_LIFETIME = 30.0
"""Seconds, also for values that must not be stored: they are the settings of a session, not a cache (RFC 9111, section
6), and would otherwise be requested at each call."""
_RENEWAL_SECONDS = 10.0
"""Longest wait of a call for a renewal."""
_RETRY_SECONDS = 300.0
"""Time between the tries of a renewal that failed; the old values are used meanwhile."""
_HINTS = dict.fromkeys(("401", "403", "404"), NOT_THE_ARCHIVE)
"""These values need no token."""


def read_values(reply: ApiReply) -> Expiring[WellKnownValues]:
    """Read them; raises `BrokenError` if this is not a well-known values service."""
    if reply.status != 200:
        raise error_from_response(reply, "read the archive's well-known values", hints=_HINTS)
    values = parse_payload(reply.body, WellKnownValues, what=f"The well-known values service at {reply.server}")
    seconds = usable_seconds([response_lifetime(reply.headers, reply.received)], otherwise=USUAL_LIFETIME)
    return Expiring(values, max(seconds, SHORTEST_LIFETIME), reply.asked)


class WellKnown:
    """The values of one archive during a session, which may take days: renewed at the end of their lifetime.

    While the service is unreachable, the last values stay in use, as in a cache that is disconnected (RFC 9111, section
    4.2.4): a transfer does not fail because its archive's address cannot be confirmed.
    `api` is one that does not ask for these values itself; `wkvs_url` as in the settings, without `/values`.
    """

    def __init__(self, api: ApiClient, wkvs_url: str) -> None:
        self._api = api
        self._request = ApiRequest("GET", f"{wkvs_url.rstrip('/')}/values")
        self._cached = CachedValue(self._fetch)
        self._values: WellKnownValues | None = None

    @property
    def values(self) -> WellKnownValues:
        """The last values."""
        assert self._values is not None, "refresh() comes first"
        return self._values

    async def refresh(self) -> None:
        """Fetch the values if there are none yet or they have expired; raises only if there are none yet."""
        self._values = await self._cached.get()

    async def hub_key(self, storage_alias: str) -> bytes:
        """The key of a data hub; if it is not among the values, they are fetched again."""
        values = self.values
        if storage_alias not in values.crypt4gh_public_keys:
            self._cached.refuse(values)
            await self.refresh()
        return hub_key(self.values, storage_alias)

    async def _fetch(self) -> Expiring[WellKnownValues]:
        known = self._values
        if known is None:
            return await self._api.call(lambda: self._request, read_values)
        try:
            with trio.fail_after(_RENEWAL_SECONDS):
                return await self._api.call(lambda: self._request, read_values, retry=False)
        except (ConnectorError, trio.TooSlowError):
            return Expiring(known, _RETRY_SECONDS)


def hub_key(values: WellKnownValues, storage_alias: str) -> bytes:
    """The 32 byte Crypt4GH public key of a data hub; `BrokenError` if there is none."""
    try:
        key = base64.b64decode(values.crypt4gh_public_keys[storage_alias], validate=True)
    except (KeyError, binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise BrokenError(
            f"The archive names no valid public key for its storage {storage_alias!r}.",
            hint="Tell the archive's operators.",
        )
    return key
