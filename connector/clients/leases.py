"""Values that the archive gives for a while (tokens, addresses, well-known values): fetched once for all who ask.

Which rules of the RFCs this follows is listed in ``docs/lifetimes.md``.
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
    """A value and the seconds for which it may be used from the moment it was asked for.

    That moment is ``asked``, on the monotonic clock; where it is not known, that of the call of ``fetch``.
    """

    value: T
    seconds: float
    asked: float | None = None


@attrs.define(eq=False)
class _Fetch(Generic[T]):
    """One call of ``fetch``. Ended with neither of both, it was cancelled, and says nothing to those who waited."""

    lent: Expiring[T] | None = None
    error: ConnectorError | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


class CachedValue(Generic[T]):
    """One such value. ``fetch`` gets a fresh one, and does all retrying that is to be done.

    Concurrent askers share one call of ``fetch``, its value and its failure alike: what was refused to the one is not
    asked for again by the others. If the asker in whose task it runs is cancelled, another one takes over. So there is
    never more than one call at a time, also for values with no lifetime at all: whoever asked while one was fetched
    takes that one, as a cache collapses requests (RFC 9111, section 4), and whoever asks afterwards gets the next.

    ``clock`` is monotonic, in seconds. The time counts from when the request was sent that brought the value, so that a
    slow answer is not overrated (RFC 9111, section 4.2.3, corrects the age likewise by the response's delay).
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[Expiring[T]]], clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._under_way: _Fetch[T] | None = None
        self._lent: Expiring[T] | None = None
        self._until = 0.0
        self.fetched = 0
        """How many values have come so far, so that a cached one can be told from a fresh one."""

    @property
    def in_use(self) -> bool:
        """Whether there is a value in its lifetime, or one is being fetched."""
        return self._under_way is not None or (self._lent is not None and self._clock() < self._until)

    async def get(self) -> T:
        """The value, fetched if there is none or it is about to end. Raises what ``fetch`` raises."""
        while True:
            lent = self._lent
            if lent is not None and self._clock() < self._until:
                return lent.value
            fetch = self._under_way
            if fetch is None:
                return await self._fetch_for_all()
            await fetch.ended.wait()
            if fetch.lent is not None:
                return fetch.lent.value
            if fetch.error is not None:
                # To each its own, since raising an exception changes it.
                raise fetch.error.with_advice(fetch.error.advice) from fetch.error.__cause__

    def refuse(self, value: T) -> None:
        """``value`` was refused where it was used: the next asker gets a fresh one. A newer value stays."""
        if self._lent is not None and self._lent.value is value:
            self._lent = None

    async def _fetch_for_all(self) -> T:
        fetch = self._under_way = _Fetch[T]()
        called = self._clock()
        try:
            fetch.lent = await self._fetch()
        except ConnectorError as error:
            fetch.error = error
            raise
        finally:
            # A server nearby answers before any other task has run: those that asked at the same moment share it too.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._under_way = None
            fetch.ended.set()
        lent = self._lent = fetch.lent
        self._until = lent.seconds + (called if lent.asked is None else lent.asked)
        self.fetched += 1
        return lent.value
