"""Calls of APIs, with retries and new tokens; and values with a lifetime (tokens, addresses), fetched once for all.

Which rules of the RFCs this follows is listed in `docs/lifetimes.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

from connector.clients.api_transport import ApiReply, ApiRequest, ApiTransport, TokenRefusedError
from connector.errors import ConnectorError
from connector.transfer import Notify, Observer, OverloadedError, Retrier

T = TypeVar("T")


@attrs.frozen
class Expiring(Generic[T]):
    """A value and its lifetime in seconds, which begins when its request was sent.

    That time is `asked`, on the monotonic clock; if it is not known, that of the call of `fetch`.
    """

    value: T
    seconds: float
    asked: float | None = None


@attrs.define(eq=False)
class _Fetch(Generic[T]):
    """One call of `fetch`. Ended without result and error, it was cancelled: tasks that wait fetch again."""

    result: Expiring[T] | None = None
    error: ConnectorError | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


class CachedValue(Generic[T]):
    """A value with a lifetime. `fetch` gets a new one, including all retries.

    Concurrent calls of `get` share one call of `fetch`, its value and its failure alike. If the task that
    runs it is cancelled, another one takes over. There is never more than one call at a time, whatever the
    lifetime: calls that wait while one is fetched take that one, as a cache collapses requests (RFC 9111, section
    4), and later calls fetch the next.

    `clock` is monotonic, in seconds. The time counts from when the request was sent that brought the value, so that a
    slow answer is not overrated (RFC 9111, section 4.2.3, corrects the age likewise by the response's delay).
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[Expiring[T]]], clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._in_flight: _Fetch[T] | None = None
        self._cached: Expiring[T] | None = None
        self._until = 0.0
        self.fetched = 0
        """How many values were fetched so far, which distinguishes a cached one from a new one."""

    @property
    def in_use(self) -> bool:
        """Whether there is a valid value, or one is being fetched."""
        return self._in_flight is not None or (self._cached is not None and self._clock() < self._until)

    async def get(self) -> T:
        """The value, fetched if there is none or it is about to expire. Raises what `fetch` raises."""
        while True:
            cached = self._cached
            if cached is not None and self._clock() < self._until:
                return cached.value
            fetch = self._in_flight
            if fetch is None:
                return await self._fetch_for_all()
            await fetch.ended.wait()
            if fetch.result is not None:
                return fetch.result.value
            if fetch.error is not None:
                # A copy for each task, since raising an exception changes it.
                raise fetch.error.with_advice(fetch.error.advice) from fetch.error.__cause__

    def refuse(self, value: T) -> None:
        """Drop `value`, which was rejected: the next call fetches a new one. A newer value stays."""
        if self._cached is not None and self._cached.value is value:
            self._cached = None

    async def _fetch_for_all(self) -> T:
        fetch = self._in_flight = _Fetch[T]()
        called = self._clock()
        try:
            fetch.result = await self._fetch()
        except ConnectorError as error:
            fetch.error = error
            raise
        finally:
            # A fast server responds before any other task has run: concurrent calls share the value nevertheless.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._in_flight = None
            fetch.ended.set()
        cached = self._cached = fetch.result
        self._until = cached.seconds + (called if cached.asked is None else cached.asked)
        self.fetched += 1
        return cached.value


_MAX_REJECTED_TOKENS = 2
"""New tokens that may be rejected in one call until that is final."""


class RequestedPauses:
    """Pauses that servers request (`Retry-After`), by method and URL (RFC 9110, section 10.2.3).

    The task that was refused waits in its own retry loop. These pauses apply to all other requests meanwhile: those of
    other tasks, and of the same one after its last try. `retrier` bounds a pause, and adds jitter for the requests that
    wait for its end. `clock` is monotonic, in seconds.
    """

    def __init__(self, retrier: Retrier, clock: Callable[[], float] = trio.current_time) -> None:
        self._retrier = retrier
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, request: ApiRequest, error: ConnectorError) -> None:
        """Record the pause that the response to `request` asks for, if it does."""
        if error.advice.after:
            now = self._clock()
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._until[request.method, request.url] = now + error.advice.after

    async def wait(self, request: ApiRequest) -> bool:
        """Wait until `request` may be sent, and return whether that took any time.

        Raises:
            OverloadedError: If that takes longer than the longest wait of the retrier.
        """
        waited = False
        while (left := self._left(request)) > 0:
            delay = self._retrier.requested_delay(left)
            if delay is None:
                raise OverloadedError(
                    f"{request.server} is overloaded and accepts no such request for {left:.0f} seconds.",
                    hint="The archive is busy or down; try again later.",
                )
            await trio.sleep(delay)
            waited = True
        return waited

    def _left(self, request: ApiRequest) -> float:
        return self._until.get((request.method, request.url), 0.0) - self._clock()


@attrs.frozen(eq=False)
class WorkOrderToken:
    """A decrypted work order token: valid for one kind of operation on one file or box."""

    token: str = attrs.field(repr=False)


class ApiClient:
    """Makes API calls: builds the request, sends it, reads the response, and retries as the errors advise.

    `refresh` is awaited before each request is built, retries included; it keeps the APIs' addresses up to date.
    """

    def __init__(
        self,
        transport: ApiTransport,
        retrier: Retrier,
        observer: Observer,
        *,
        refresh: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._transport = transport
        self._retrier = retrier
        self._observer = observer
        self._pauses = RequestedPauses(retrier)
        self._refresh = refresh
        self._answered = 0

    async def call(self, build: Callable[[], ApiRequest], read: Callable[[ApiReply], T], *, retry: bool = True) -> T:
        """One call without a work order token; with `retry` as often as the errors advise, otherwise once."""

        async def once() -> T:
            await self._refresh()
            request = build()
            await self._pauses.wait(request)
            return await self._send(request, read)

        if not retry:
            return await once()
        return await self._retrier.run(once, notify=self._notifier(), answered=lambda: self._answered)

    async def authorized(
        self,
        token: CachedValue[WorkOrderToken],
        build: Callable[[str], ApiRequest],
        read: Callable[[ApiReply], T],
        *,
        notify: Notify | None = None,
    ) -> T:
        """One call with a work order token; `build` makes the request for a token.

        A token that is rejected (401) is replaced by a new one at once, which does not count as a retry: RFC 9110,
        section 15.5.2, allows the request to be repeated with other credentials only. A cached token may have expired
        in transit. The second *new* one that is rejected (one that any task fetched after this call had begun) shows
        that the archive does not accept such tokens, and ends the call.

        `notify` is called for each try that failed and is repeated, as is the observer.
        """
        known, new_rejected = token.fetched, 0
        tell = self._notifier(notify)

        async def once() -> T:
            nonlocal new_rejected
            while True:
                await self._refresh()
                current = await token.get()
                is_new = token.fetched > known
                request = build(current.token)
                if await self._pauses.wait(request):
                    continue  # the token may have expired meanwhile
                try:
                    return await self._send(request, read)
                except TokenRefusedError as error:
                    token.refuse(current)
                    new_rejected += is_new
                    if new_rejected >= _MAX_REJECTED_TOKENS:
                        raise
                    tell(error, 0.0)

        return await self._retrier.run(once, notify=tell, answered=lambda: self._answered)

    async def _send(self, request: ApiRequest, read: Callable[[ApiReply], T]) -> T:
        reply = await self._transport.send(request)
        try:
            value = read(reply)
        except ConnectorError as error:
            self._pauses.note(request, error)
            raise
        self._answered += 1
        return value

    def _notifier(self, also: Notify | None = None) -> Notify:
        def notify(error: ConnectorError, delay: float) -> None:
            if delay or not error.advice.expected:  # the second failure in a row has a delay
                self._observer.retried("", error, delay)
            if also is not None:
                also(error, delay)

        return notify
