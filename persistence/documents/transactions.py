"""Repeating a transaction after a conflict: the one loop that every provider uses."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from persistence.documents.protocol import DaoFactory, Transaction
from persistence.errors import TransactionConflict

T = TypeVar("T")

_LONGEST_PAUSE: Final = 0.5


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
        pause = min(pause * 2, _LONGEST_PAUSE)
    raise ValueError("attempts must be at least 1")
