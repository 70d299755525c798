"""An open database: what a provider implements, from opening to closing, for the factory that all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection
from persistence.documents.index import IndexSpec
from persistence.documents.protocol import Transaction
from persistence.errors import Closed, WrongLoop
from persistence.threads import current_loop


class Database(ABC):
    """One opening of a database. It is used in the event loop that opened it, until it is closed, and never again."""

    def __init__(self) -> None:
        self._loop = current_loop()
        self.closed = False

    def check(self) -> None:
        """Raise `Closed` after the closing, and `WrongLoop` in another event loop or thread."""
        if self.closed:
            raise Closed("The database")
        if current_loop() is not self._loop:
            raise WrongLoop("The database")

    @abstractmethod
    async def open(self) -> None:
        """Connect; if that fails, nothing stays open."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything; done even if the caller is cancelled."""

    @abstractmethod
    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> Collection:
        """The collection of that name, made with its indexes if they do not exist yet."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See `persistence.documents.protocol.DaoFactory`."""

    @abstractmethod
    async def now(self) -> datetime:
        """The database's own time: aware, in UTC, in whole milliseconds."""
