"""API calls that need a token: tried again as their errors advise, with a new token when one is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from connector.clients.exchange import ApiReply, ApiRequest, Exchange
from connector.clients.leases import Lease
from connector.clients.refusals import TokenRefusedError
from connector.clients.work_orders import WorkOrder
from connector.errors import ConnectorError
from connector.transfer import Notify, Observer, Retrier

T = TypeVar("T")


class Caller:
    """Makes API calls: builds the request, sends it, reads the answer, and starts over as the errors advise."""

    def __init__(self, exchange: Exchange, retrier: Retrier, observer: Observer) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._observer = observer

    async def call(self, request: ApiRequest, read: Callable[[ApiReply], T]) -> T:
        """One call with a request that stays the same."""

        async def once() -> T:
            return read(await self._exchange.send(request))

        return await self._retried(once)

    async def authorized(
        self,
        order: Lease[WorkOrder],
        build: Callable[[str], ApiRequest],
        read: Callable[[ApiReply], T],
        *,
        notify: Notify | None = None,
    ) -> T:
        """One call with a work order token; ``build`` makes the request for a token.

        ``notify`` is told of each try that failed and is repeated, beside the observer.
        """

        async def once() -> T:
            current = await order.get()
            try:
                return read(await self._exchange.send(build(current.token)))
            except TokenRefusedError:
                order.refuse(current)
                raise

        return await self._retried(once, notify)

    async def _retried(self, once: Callable[[], Awaitable[T]], also: Notify | None = None) -> T:
        def notify(error: ConnectorError, delay: float) -> None:
            self._observer.retried("", error, delay)
            if also is not None:
                also(error, delay)

        return await self._retrier.run(once, notify=notify)
