"""What both sides measure alike; only the standard library, for it runs in both environments."""

from __future__ import annotations

import json
import random
import resource
import sys
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


async def by_request(work: Callable[[], Awaitable[Any]]) -> None:
    """Do the work once for each line of standard input, and say in a line of JSON what it took."""
    while sys.stdin.readline():
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**took, "peak": peak}), flush=True)
