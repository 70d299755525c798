"""Ordered steps among parts that move in parallel, and concurrent steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from connector.errors import ConnectorError


class Sequencer:
    """Runs steps in the order of their numbers, whatever order they arrive in, as the digest of a file requires."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._waiting: dict[int, trio.Event] = {}

    @property
    def next(self) -> int:
        """The number of the step that runs next."""
        return self._next

    def is_done(self, number: int) -> bool:
        """Whether this step has run: a part that is moved again must not be counted twice."""
        return number < self._next

    async def wait(self, number: int) -> None:
        """Wait until `number` is next, without running it."""
        while number > self._next:
            await self._waiting.setdefault(number, trio.Event()).wait()

    @asynccontextmanager
    async def in_order(self, number: int) -> AsyncIterator[None]:
        """Wait until `number` is next; leaving the block without an exception makes the following step next.

        A step that has run before enters at once; see `is_done`.
        """
        await self.wait(number)
        yield
        if number < self._next:
            return  # a part that is moved again: the following step is next already
        self._next = number + 1
        event = self._waiting.pop(self._next, None)
        if event is not None:
            event.set()


async def run_concurrently(*steps: Callable[[], Awaitable[object]]) -> None:
    """Run all steps at once and wait for them.

    A step that fails does not stop the others; when all have ended, the first error in the given order is raised, not
    in a group.
    """
    errors: dict[int, ConnectorError] = {}

    async def collect_error(number: int) -> None:
        try:
            await steps[number]()
        except ConnectorError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(steps)):
            nursery.start_soon(collect_error, number)
    if errors:
        raise errors[min(errors)]
