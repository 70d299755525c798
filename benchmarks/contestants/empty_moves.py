"""What the scheduler costs by itself: transfers whose parts need nothing done. Prints JSON.

python -m benchmarks.contestants.empty_moves PARTS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence

import trio

from connector.parts import Part, Parts
from connector.transfer import BufferPool, Progress, Retrier, Scheduler, SilentObserver
from connector.transfer.limit import ConcurrencyLimit

PART = 65536


class Nothing:
    """A transfer of many parts that does nothing with each."""

    label = "nothing"

    def __init__(self, parts: int) -> None:
        self._parts = Parts(parts * PART, PART)

    async def prepare(self) -> None:
        return None

    async def open(self) -> Sequence[Part]:
        return self._parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        progress(part.size)

    async def finish(self) -> None:
        return None

    async def close(self) -> None:
        return None


async def main(parts: int) -> None:
    pool = BufferPool(64 * PART)
    scheduler = Scheduler(pool=pool, limit=ConcurrencyLimit(), retrier=Retrier(), observer=SilentObserver())
    await scheduler.run([Nothing(100)])
    began = time.perf_counter()
    (outcome,) = await scheduler.run([Nothing(parts)])
    seconds = time.perf_counter() - began
    outcome.unwrap()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"microseconds": seconds / parts * 1e6, "peak": peak}))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
