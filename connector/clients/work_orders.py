"""Work order tokens, as the work package service hands them out."""

from __future__ import annotations

import attrs

from connector.clients.exchange import ApiReply
from connector.clients.leases import Lent
from connector.clients.refusals import refusal
from connector.core.freshness import response_lifetime, usable_seconds
from connector.core.payloads import parse_json
from connector.core.sealed_box import open_text
from connector.core.tokens import check_recipient, read_claims
from connector.errors import BrokenError
from connector.local.key_files import KeyPair

USUAL_LIFETIME = 30.0
"""Seconds; for a service that does not say how long its tokens live."""


@attrs.frozen(eq=False)
class WorkOrder:
    """An opened work order token: good for one kind of operation on one file or box."""

    token: str = attrs.field(repr=False)


def read_work_order(reply: ApiReply, keys: KeyPair) -> Lent[WorkOrder]:
    """Read the answer to a request for a work order token.

    The token lives as long as the shorter of its own claims and the response's freshness says. Raises
    :class:`~connector.errors.RefusedError` if it is not granted, or made for another key than ``keys``.
    """
    if reply.status != 201:
        raise refusal(reply, "get a work order token")
    sealed = parse_json(reply.body, what="The work package service")
    if not isinstance(sealed, str):
        raise BrokenError("The work package service sent no work order token.", hint="Tell the archive's operators.")
    token = open_text(sealed, keys.private)
    claims = read_claims(token)
    check_recipient(claims, keys.public_base64)
    fresh = response_lifetime(reply.headers, reply.received)
    seconds = usable_seconds([claims.lifetime, fresh], otherwise=USUAL_LIFETIME)
    return Lent(WorkOrder(token), seconds, reply.asked)
