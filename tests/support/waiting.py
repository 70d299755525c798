"""Waiting for a state that is to come, for as long as it takes on a machine that is busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

PATIENCE: Final = 180.0
"""Seconds after which what has not come yet will not come."""


def wait_until(holds: Callable[[], object], what: str = "", *, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds, in this thread; `what` says what is missing if it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds, in this task."""
    with trio.fail_after(PATIENCE):
        while not holds():
            await trio.sleep(0.005)
