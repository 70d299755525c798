"""An open database and its transactions: what a provider implements, from opening to closing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import datetime
from typing import Any, Protocol, TypeVar

from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection
from persistence.documents.dao import Dao, SurrogateDao
from persistence.documents.index import IndexSpec
from persistence.errors import Closed, InvalidQuery, WrongLoop
from persistence.threads import current_loop

M = TypeVar("M")
C = TypeVar("C")
D = TypeVar("D")


class Database(Protocol):
    """One opening of a database. It is used in the event loop that opened it, until it is closed, and never again."""

    _loop: object
    closed: bool = False

    def __init__(self) -> None:
        self._loop = current_loop()

    def check(self) -> None:
        """Raise `Closed` after the closing, and `WrongLoop` in another event loop or thread."""
        if self.closed:
            raise Closed("The database")
        if current_loop() is not self._loop:
            hint = "Open one in each event loop, and make its DAOs there."
            raise WrongLoop("The database was opened in another event loop.", hint=hint)

    async def open(self) -> None:
        """Connect; if that fails or is cancelled, `close` is called."""

    async def close(self) -> None:
        """Release everything; done even if the caller is cancelled."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> Collection:
        """The collection of that name, made with its indexes if they do not exist yet."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See `persistence.documents.factory.DaoFactory`."""

    async def now(self) -> datetime:
        """The database's own time: aware, in UTC, in whole milliseconds."""


class Transaction:
    """Several DAOs of one factory, all or nothing. A provider's transaction runs the calls of their collections.

    Reads inside see the writes inside. Use bound DAOs only, and one call at a time.

    Args:
        database: runs the calls of the factory's own DAOs; only those can be bound.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.open = True

    def check(self) -> None:
        """Raise `Closed` after the end of the transaction or of the database, `WrongLoop` in another event loop."""
        if not self.open:
            raise Closed("The transaction")
        self._database.check()

    def bind(self, dao: Dao[M]) -> Dao[M]:
        """The same DAO, working inside this transaction.

        Raises:
            InvalidQuery: it is bound already, has surrogate ids, or is not one of the transaction's factory
                since that was opened last.
            Closed: the transaction has ended.
        """
        return self._bound(dao, Dao)

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        """As `bind`, for a DAO with surrogate ids."""
        return self._bound(dao, SurrogateDao)

    def _bound(self, dao: D, kind: type[Dao[Any]] | type[SurrogateDao[Any, Any]]) -> D:
        self.check()
        if not isinstance(dao, kind):
            hint = "Give DAOs of this package to `bind`, and those with surrogate ids to `bind_surrogate`."
            raise InvalidQuery(f"{dao!r} cannot be bound here.", hint=hint)
        if isinstance(dao.collection.runner, Transaction):
            raise InvalidQuery("The DAO is bound to a transaction already.", hint="Bind the DAO of the factory.")
        if dao.collection.runner is not self._database:
            hint = "Make the DAO with the factory that began the transaction."
            raise InvalidQuery("The DAO is not one of the transaction's factory, as it was opened last.", hint=hint)
        bound = copy(dao)
        bound.collection = copy(dao.collection)
        bound.collection.runner = self
        return bound
