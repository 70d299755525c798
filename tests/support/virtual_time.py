"""A mock clock that jumps when nothing is going on, and knows that work in a thread is something.

Trio's own autojump takes a task that waits for a thread for an idle one, and lets time pass while it works.
"""

from __future__ import annotations

import math
import time

import trio
from trio.testing import MockClock, wait_all_tasks_blocked


async def let_time_pass(clock: MockClock, threads: trio.CapacityLimiter) -> None:
    """Jump from deadline to deadline whenever all tasks wait for one and nobody works in ``threads``. Never ends."""
    naps = trio.CapacityLimiter(1)
    while True:
        await wait_all_tasks_blocked()
        seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if threads.borrowed_tokens or math.isinf(seconds):
            await trio.to_thread.run_sync(time.sleep, 0.0005, limiter=naps)
        else:
            clock.jump(max(seconds, 0.0))
