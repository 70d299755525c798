"""Well-known values: where the archive's APIs are, and the public keys of its data hubs."""

from __future__ import annotations

import base64
import binascii

from connector.clients.caller import Caller
from connector.clients.exchange import ApiReply, ApiRequest
from connector.clients.refusals import refusal
from connector.core.payloads import WellKnownValues, parse_payload
from connector.errors import BrokenError


def build_values_request(wkvs_url: str) -> ApiRequest:
    """Ask for all values; ``wkvs_url`` as users know it, without ``/values``."""
    return ApiRequest("GET", f"{wkvs_url.rstrip('/')}/values")


def read_values(reply: ApiReply) -> WellKnownValues:
    """Read them; raises :class:`~connector.errors.BrokenError` if this is not a well-known values service."""
    if reply.status != 200:
        raise refusal(reply, "read the archive's well-known values")
    return parse_payload(reply.body, WellKnownValues, what=f"The well-known values service at {reply.server}")


async def fetch_values(caller: Caller, wkvs_url: str) -> WellKnownValues:
    """Fetch the well-known values."""
    return await caller.call(build_values_request(wkvs_url), read_values)


def hub_key(values: WellKnownValues, storage_alias: str) -> bytes:
    """The 32 byte Crypt4GH public key of a data hub; :class:`~connector.errors.BrokenError` if there is none."""
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
