"""Results that are fetched in pages, as one async iterator that needs no closing."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")


class PagedIterator(AsyncIterator[T], Generic[T, K]):
    """Fetches the next page when the one before is exhausted; between two steps nothing is open.

    Args:
        fetch: returns the items of the page at a position, and the next position or None at the end.
        start: the position of the first page.
    """

    def __init__(self, fetch: Callable[[K], Awaitable[tuple[list[T], K | None]]], start: K | None) -> None:
        self._fetch = fetch
        self._next = start
        self._items: deque[T] = deque()

    async def __anext__(self) -> T:
        while not self._items:
            if self._next is None:
                raise StopAsyncIteration
            page, self._next = await self._fetch(self._next)
            self._items.extend(page)
        return self._items.popleft()
