"""Things that the archive lends for a while (tokens, URLs): fetched once for all who ask, renewed in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

T = TypeVar("T")


@attrs.frozen
class Lent(Generic[T]):
    """A value and the seconds for which it may be used from the moment it was asked for."""

    value: T
    seconds: float


class Lease(Generic[T]):
    """One such thing. ``fetch`` gets it anew; concurrent askers share one call of it.

    ``clock`` is monotonic, in seconds. The time counts from before the call, so that a slow answer is not overrated
    (RFC 9111, section 4.2.3, corrects the age likewise by the response's delay).
    """

    def __init__(self, fetch: Callable[[], Awaitable[Lent[T]]], clock: Callable[[], float] = trio.current_time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = trio.Lock()
        self._lent: Lent[T] | None = None
        self._until = 0.0

    @property
    def cached(self) -> T | None:
        """The value that :meth:`get` would return without fetching, ``None`` if there is none."""
        return self._lent.value if self._lent is not None and self._clock() < self._until else None

    async def get(self) -> T:
        """The value, fetched if there is none or it is about to end. Raises what ``fetch`` raises."""
        lent = self._lent
        if lent is not None and self._clock() < self._until:
            return lent.value
        async with self._lock:
            # Somebody may have fetched it while this one waited.
            lent = self._lent
            if lent is None or self._clock() >= self._until:
                asked = self._clock()
                lent = await self._fetch()
                self._lent, self._until = lent, asked + lent.seconds
            return lent.value

    def refuse(self, value: T) -> None:
        """``value`` was refused where it was used: the next asker gets a new one. A newer value stays."""
        if self._lent is not None and self._lent.value is value:
            self._lent = None
