"""Values with a lifetime (tokens, addresses, well-known values): fetched once for all tasks that need them.

Which rules of the RFCs this follows is listed in `docs/lifetimes.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

from connector.errors import ConnectorError

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
    """One such value. `fetch` gets a new one, including all retries.

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
