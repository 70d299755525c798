"""API calls that need a token: retried as their errors advise, and repeated with a fresh token when one is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from connector.clients.cached_value import CachedValue
from connector.clients.exchange import ApiReply, ApiRequest, ApiTransport
from connector.clients.refusals import TokenRefusedError
from connector.errors import ConnectorError
from connector.transfer import Notify, Observer, OverloadedError, Retrier
from connector.wire.tokens import WorkOrderToken

T = TypeVar("T")

_FRESH_TOKENS = 2
"""Fresh tokens that may be refused in one call until that is final."""


class Pauses:
    """Pauses that servers ask for (`Retry-After`), by method and address (RFC 9110, section 10.2.3).

    The task that was refused waits in its own retry loop. These pauses are for all other requests in between: those of
    other tasks, and of the same one after its last try. `retrier` bounds a pause, and spreads the requests that
    wait for its end. `clock` is monotonic, in seconds.
    """

    def __init__(self, retrier: Retrier, clock: Callable[[], float] = trio.current_time) -> None:
        self._retrier = retrier
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, request: ApiRequest, error: ConnectorError) -> None:
        """Take note of the pause that the answer to `request` asks for, if it does."""
        if error.advice.after:
            now = self._clock()
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._until[request.method, request.url] = now + error.advice.after

    async def wait(self, request: ApiRequest) -> bool:
        """Wait until `request` may be sent, and return whether that took any time.

        Raises:
            OverloadedError: Instead if that takes longer than anything is waited for.
        """
        waited = False
        while (left := self._left(request)) > 0:
            delay = self._retrier.requested_delay(left)
            if delay is None:
                raise OverloadedError(
                    f"{request.server} is not to be asked again for {left:.0f} seconds, as it has said.",
                    hint="The archive is busy or down; try again later.",
                )
            await trio.sleep(delay)
            waited = True
        return waited

    def _left(self, request: ApiRequest) -> float:
        return self._until.get((request.method, request.url), 0.0) - self._clock()


class ApiClient:
    """Makes API calls: builds the request, sends it, reads the answer, and retries as the errors advise.

    `refresh` is awaited before each request is built, retries included; it keeps the APIs' addresses up to date.
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
        """One call without a work order token; with `retry` as often as the errors advise, otherwise once."""

        async def once() -> T:
            await self._refresh()
            request = build()
            await self._pauses.wait(request)
            return await self._send(request, read)

        if not retry:
            return await once()
        return await self._retrier.run(once, notify=self._notifier())

    async def authorized(
        self,
        order: CachedValue[WorkOrderToken],
        build: Callable[[str], ApiRequest],
        read: Callable[[ApiReply], T],
        *,
        notify: Notify | None = None,
    ) -> T:
        """One call with a work order token; `build` makes the request for a token.

        A token that is refused (401) is replaced by a fresh one at once, which is no retry of something that failed
        and counts as none: RFC 9110, section 15.5.2, allows the request to be repeated with other credentials, and
        with them alone. A cached token may have expired on the way. The second *fresh* one that is refused (one that
        came after this call had begun, whoever fetched it) says that the archive does not accept such tokens, and ends
        the call.
        `notify` is told of each try that failed and is repeated, beside the observer.
        """
        known, fresh_refused = order.fetched, 0
        tell = self._notifier(notify)

        async def once() -> T:
            nonlocal fresh_refused
            while True:
                await self._refresh()
                current = await order.get()
                is_fresh = order.fetched > known
                request = build(current.token)
                if await self._pauses.wait(request):
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

    def _notifier(self, also: Notify | None = None) -> Notify:
        def notify(error: ConnectorError, delay: float) -> None:
            if delay or not error.advice.expected:  # the second time in a row there is a delay
                self._observer.retried("", error, delay)
            if also is not None:
                also(error, delay)

        return notify
