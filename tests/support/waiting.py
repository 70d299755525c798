"""Waiting for a state that is to come, for as long as it takes on a machine that is busy with other things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

PATIENCE: Final = 60.0
"""Seconds after which what has not come yet will not come."""


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    with trio.fail_after(PATIENCE):
        while not holds():
            await trio.sleep(0.005)
