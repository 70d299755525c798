"""Results that come in pages, seen as one async iterator that needs no closing."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")


class PagedIterator(AsyncIterator[T], Generic[T, K]):
    """Fetches a page when the one before is used up; between two steps nothing is open.

    Args:
        fetch: gives the items of the page at a position, and the next position or None at the end.
        start: the position of the first page.
        make: turns an item into what is given, when it is its turn: many made at once would keep the garbage
            collector busy.
    """

    def __init__(
        self,
        fetch: Callable[[K], Awaitable[tuple[list[Any], K | None]]],
        start: K | None,
        make: Callable[[Any], T] | None = None,
    ) -> None:
        self._fetch = fetch
        self._next = start
        self._make = make
        self._items: deque[Any] = deque()

    async def __anext__(self) -> T:
        while not self._items:
            if self._next is None:
                raise StopAsyncIteration
            page, self._next = await self._fetch(self._next)
            self._items.extend(page)
        item = self._items.popleft()
        return item if self._make is None else self._make(item)
