"""An open database: what a provider implements, from opening to closing, for the factory that all share."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import sniffio

from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection
from persistence.documents.index import IndexSpec
from persistence.documents.protocol import Transaction
from persistence.errors import Closed, WrongLoop


class Database(ABC):
    """One opening of a database. It is used in the event loop that opened it, until it is closed, and never again."""

    def __init__(self) -> None:
        self._loop = _current_loop()
        self.closed = False

    def check(self) -> None:
        """Raise `Closed` after the closing, and `WrongLoop` in another event loop or thread."""
        if self.closed:
            raise Closed("The database")
        if _current_loop() is not self._loop:
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


def _current_loop() -> object:
    if sniffio.current_async_library() == "trio":
        # Imported already by the program that runs it, and only then.
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio.get_running_loop()
