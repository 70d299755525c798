"""Transactions: binding DAOs to one, and repeating one after a conflict, the same for every provider."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from persistence.documents.database import Database
from persistence.documents.protocol import Dao, DaoFactory, SurrogateDao, Transaction
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao
from persistence.errors import Closed, InvalidQuery, TransactionConflict

M = TypeVar("M")
C = TypeVar("C")
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
        bound: Dao[M] = self._bound(dao, TypedDao)
        return bound

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        bound: SurrogateDao[M, C] = self._bound(dao, TypedSurrogateDao)
        return bound

    def _bound(self, dao: Any, kind: type[TypedDao[Any]] | type[TypedSurrogateDao[Any, Any]]) -> Any:
        self.check()
        if not isinstance(dao, kind):
            raise InvalidQuery(
                f"{dao!r} cannot be bound here.",
                hint="Give DAOs of this package to `bind`, and those with surrogate ids to `bind_surrogate`.",
            )
        runner: Any = dao.collection.runner
        if isinstance(runner, ProviderTransaction):
            raise InvalidQuery("The DAO is bound to a transaction already.", hint="Bind the DAO of the factory.")
        if runner is not self._runner:
            raise InvalidQuery(
                "The DAO is not one of the transaction's factory, as it was opened last.",
                hint="Make the DAO with the factory that began the transaction.",
            )
        return dao.on(dao.collection.on(self))


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
