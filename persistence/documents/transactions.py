"""Transactions: binding DAOs to one, and repeating one after a conflict, the same for every provider."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Final, TypeVar

import anyio

from persistence.documents.database import Database
from persistence.documents.protocol import Dao, DaoFactory, SurrogateDao, Transaction
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao
from persistence.errors import Closed, InvalidQuery, TransactionConflict

M = TypeVar("M")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")

_MAX_PAUSE: Final = 0.5


class ProviderTransaction(Transaction):
    """A transaction that runs the calls of the collections bound to it.

    Args:
        database: runs the calls of the factory's own DAOs; only those can be bound.
    """

    def __init__(self, database: Database) -> None:
        self._runner = database
        self.open = True

    def check(self) -> None:
        """Raise `Closed` after the end of the transaction or of the database, `WrongLoop` in another event loop."""
        if not self.open:
            raise Closed("The transaction")
        self._runner.check()

    def bind(self, dao: Dao[M]) -> Dao[M]:
        return self._bound(dao, TypedDao)

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        return self._bound(dao, TypedSurrogateDao)

    def _bound(self, dao: D, kind: type[TypedDao[Any]] | type[TypedSurrogateDao[Any, Any]]) -> D:
        self.check()
        if not isinstance(dao, kind):
            raise InvalidQuery(
                f"{dao!r} cannot be bound here.",
                hint="Give DAOs of this package to `bind`, and those with surrogate ids to `bind_surrogate`.",
            )
        if isinstance(dao.collection.runner, ProviderTransaction):
            raise InvalidQuery("The DAO is bound to a transaction already.", hint="Bind the DAO of the factory.")
        if dao.collection.runner is not self._runner:
            raise InvalidQuery(
                "The DAO is not one of the transaction's factory, as it was opened last.",
                hint="Make the DAO with the factory that began the transaction.",
            )
        bound = copy(dao)
        bound.collection = copy(dao.collection)
        bound.collection.runner = self
        return bound


async def repeat_on_conflict(factory: DaoFactory, work: Callable[[Transaction], Awaitable[T]], attempts: int) -> T:
    """Run work in a transaction, again after each conflict, with growing random pauses (at most 0.5 s)."""
    pause = 0.005
    for attempt in range(1, attempts + 1):
        try:
            async with factory.transaction() as transaction:
                return await work(transaction)
        except TransactionConflict:
            if attempt == attempts:
                raise
        await anyio.sleep(random.uniform(0, pause))
        pause = min(pause * 2, _MAX_PAUSE)
    raise ValueError("attempts must be at least 1")
