"""A task that always has something to compute, as a program may have beside ours."""

from __future__ import annotations

import time

import anyio.lowlevel


async def never_rest(chunk: float) -> None:
    """Compute for ``chunk`` seconds at a time, for ever, and let other tasks take their turns in between."""
    while True:
        until = time.perf_counter() + chunk
        while time.perf_counter() < until:
            pass
        await anyio.lowlevel.checkpoint()
