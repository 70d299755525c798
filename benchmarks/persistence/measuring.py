"""What both sides measure alike; only the standard library, for it runs in both environments."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

TEXT = "state-x"


def documents(count: int) -> list[dict[str, Any]]:
    """The same documents in each process; those of an insert get fresh ids by each call's own count."""
    chance = random.Random(4)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    fresh = count != 10_000
    return [
        {
            "id": uuid.uuid4() if fresh else uuid.UUID(int=chance.getrandbits(128), version=4),
            "name": f"{'inserted' if fresh else 'name'}-{number}",
            "number": number,
            "state": "inserted" if fresh else TEXT,
            "created": start + timedelta(seconds=number),
            "tags": ["a", "b"],
            "note": None,
        }
        for number in range(count)
    ]


def portion(things: list[Any], caller: int, callers: int) -> list[Any]:
    """The things that one of several callers works on."""
    return things[caller::callers]


async def fastest(work: Callable[[], Awaitable[Any]], count: int, rounds: int = 3) -> float:
    """Operations per second in the fastest of some rounds."""
    best = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        best = max(best, count / (time.perf_counter() - began))
    return best
