"""Work order tokens, as the work package service hands them out."""

from __future__ import annotations

import attrs

from connector.clients.exchange import ApiReply
from connector.clients.leases import Expiring
from connector.clients.refusals import error_from_response
from connector.crypt4gh.keys import KeyPair
from connector.crypt4gh.sealed_box import open_text
from connector.errors import BrokenError
from connector.wire.lifetimes import response_lifetime, usable_seconds
from connector.wire.payloads import parse_json
from connector.wire.tokens import check_recipient, read_claims

USUAL_LIFETIME = 30.0
"""Seconds; for a service that does not say how long its tokens live."""


@attrs.frozen(eq=False)
class WorkOrder:
    """An opened work order token: good for one kind of operation on one file or box."""

    token: str = attrs.field(repr=False)


def read_work_order(reply: ApiReply, keys: KeyPair) -> Expiring[WorkOrder]:
    """Read the answer to a request for a work order token.

    The token lives as long as the shorter of its own claims and the response's freshness says. Raises
    :class:`~connector.errors.RefusedError` if it is not granted, or made for another key than ``keys``.
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
    seconds = usable_seconds([claims.lifetime, fresh], otherwise=USUAL_LIFETIME)
    return Expiring(WorkOrder(token), seconds, reply.asked)
