"""Steps that need not wait for each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from connector.errors import ConnectorError


async def run_concurrently(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take all steps at once and wait for them.

    One that fails stops no other; when all have ended, the error of the first in the given order that failed is
    raised, by itself and not in a group.
    """
    errors: dict[int, ConnectorError] = {}

    async def noted(number: int) -> None:
        try:
            await steps[number]()
        except ConnectorError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(steps)):
            nursery.start_soon(noted, number)
    if errors:
        raise errors[min(errors)]
