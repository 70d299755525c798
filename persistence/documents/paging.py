"""Results of a query, fetched in pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from persistence.documents.collection import Collection, Query

M = TypeVar("M")


class PagedResults(Generic[M]):
    """Documents found by a query; fetched in pages, and nothing needs closing after an early break.

    Args:
        collection: fetches a page when the one before is used up; between two steps nothing is open.
        query: which documents.
        load: makes the model of a document, when it is its turn: many made at once would keep the garbage
            collector busy.
    """

    def __init__(self, collection: Collection, query: Query, load: Callable[[Any], M]) -> None:
        self._collection = collection
        self._query = query
        self._load = load
        self._position: Any = None if query.limit == 0 else query
        self._documents: deque[Any] = deque()

    def __aiter__(self) -> PagedResults[M]:
        return self

    async def __anext__(self) -> M:
        while not self._documents:
            if self._position is None:
                raise StopAsyncIteration
            page, self._position = await self._collection.page(self._position)
            self._documents.extend(page)
        return self._load(self._documents.popleft())

    async def total_count(self) -> int:
        """How many documents match, whatever `skip`, `limit` and `after` leave out; counted when it is called."""
        return await self._collection.count(self._query.term)
