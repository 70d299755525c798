"""Who runs the calls of a collection: the factory, or a transaction of it; and the shortcut that the factory has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession

from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.lane import Stored
from persistence.documents.protocol import Id

T = TypeVar("T")


class Caller(Protocol):
    """Runs calls of PyMongo: alone, or within a transaction."""

    @property
    def session(self) -> AsyncClientSession | None:
        """The session of the transaction, if there is one."""
        ...

    async def call(
        self, call: Callable[[], Awaitable[T]], failures: Failures, id_: Id | None = None, *, brief: bool = False
    ) -> T:
        """Run a call within the deadline and translate its errors; `brief` if its answer usually comes at once."""
        ...


class Shortcut(Protocol):
    """Another way for calls that are alone and in no transaction."""

    @property
    def alone(self) -> bool:
        """Whether nothing else is under way, so that `quick_call` is the quicker way to read."""
        ...

    @property
    def alone_to_insert(self) -> bool:
        """The same for an insert."""
        ...

    async def quick_call(
        self,
        name: str,
        call: Callable[[Stored], T],
        failures: Failures,
        id_: Id | None = None,
        *,
        brief: bool = False,
    ) -> T:
        """Run a blocking call on the collection elsewhere, within the deadline, and translate its errors."""
        ...
