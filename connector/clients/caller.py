"""API calls that need a token: retried as their errors advise, and repeated with a fresh token when one is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from connector.clients.exchange import ApiReply, ApiRequest, ApiTransport
from connector.clients.leases import CachedValue
from connector.clients.pauses import Pauses
from connector.clients.refusals import TokenRefusedError
from connector.clients.work_orders import WorkOrder
from connector.errors import ConnectorError
from connector.transfer import Notify, Observer, Retrier

T = TypeVar("T")

_FRESH_TOKENS = 2
"""Fresh tokens that may be refused in one call until that is final."""


class ApiClient:
    """Makes API calls: builds the request, sends it, reads the answer, and retries as the errors advise.

    ``refresh`` is awaited before each request is built, retries included; it keeps the APIs' addresses up to date.
    """

    def __init__(
        self,
        exchange: ApiTransport,
        retrier: Retrier,
        observer: Observer,
        *,
        refresh: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._observer = observer
        self._pauses = Pauses(retrier)
        self._refresh = refresh

    async def call(self, build: Callable[[], ApiRequest], read: Callable[[ApiReply], T], *, retry: bool = True) -> T:
        """One call without a work order token; with ``retry`` as often as the errors advise, else once."""

        async def once() -> T:
            await self._refresh()
            request = build()
            await self._pauses.keep(request)
            return await self._send(request, read)

        if not retry:
            return await once()
        return await self._retrier.run(once, notify=self._telling())

    async def authorized(
        self,
        order: CachedValue[WorkOrder],
        build: Callable[[str], ApiRequest],
        read: Callable[[ApiReply], T],
        *,
        notify: Notify | None = None,
    ) -> T:
        """One call with a work order token; ``build`` makes the request for a token.

        A token that is refused (401) is replaced by a fresh one at once, which is no retry of something that failed
        and counts as none: RFC 9110, section 15.5.2, allows the request to be repeated with other credentials, and
        with them alone. A cached token may have expired on the way. The second *fresh* one that is refused (one that
        came after this call had begun, whoever fetched it) says that the archive does not accept such tokens, and ends
        the call.
        ``notify`` is told of each try that failed and is repeated, beside the observer.
        """
        known, fresh_refused = order.fetched, 0
        tell = self._telling(notify)

        async def once() -> T:
            nonlocal fresh_refused
            while True:
                await self._refresh()
                current = await order.get()
                is_fresh = order.fetched > known
                request = build(current.token)
                if await self._pauses.keep(request):
                    continue  # the token may have expired meanwhile
                try:
                    return await self._send(request, read)
                except TokenRefusedError as error:
                    order.refuse(current)
                    fresh_refused += is_fresh
                    if fresh_refused >= _FRESH_TOKENS:
                        raise
                    tell(error, 0.0)

        return await self._retrier.run(once, notify=tell)

    async def _send(self, request: ApiRequest, read: Callable[[ApiReply], T]) -> T:
        reply = await self._exchange.send(request)
        try:
            return read(reply)
        except ConnectorError as error:
            self._pauses.note(request, error)
            raise

    def _telling(self, also: Notify | None = None) -> Notify:
        def notify(error: ConnectorError, delay: float) -> None:
            if delay or not error.advice.expected:  # the second time in a row there is a delay
                self._observer.retried("", error, delay)
            if also is not None:
                also(error, delay)

        return notify
