"""Documents in memory, with the same queries, indexes and transactions as a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from persistence.documents.factory import ProviderFactory
from persistence.documents.memory.database import MemoryDatabase
from persistence.documents.memory.tables import Tables


class MemoryDaoFactory(ProviderFactory[MemoryDatabase]):
    """DAOs over dicts; the documents last as long as the factory object, not just its `async with` block.

    Args:
        deadline: seconds that a write may wait for a transaction to end.
        clock: gives the time for `now` and for documents that expire, aware; that of the system by default.
    """

    def __init__(self, *, deadline: float = 15.0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        tables: Tables = {}
        super().__init__(lambda: MemoryDatabase(tables, deadline=deadline, clock=clock))
