"""Order among parts that move in parallel, for the steps that need it (a digest over the whole)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Sequencer:
    """Lets step 1, 2, 3, ... through one after the other, whatever order they arrive in."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._waiting: dict[int, trio.Event] = {}

    @property
    def next(self) -> int:
        """The number whose turn it is."""
        return self._next

    def passed(self, number: int) -> bool:
        """Whether this step was taken already: a part that is tried again must not be counted twice."""
        return number < self._next

    async def wait(self, number: int) -> None:
        """Wait for the turn of ``number`` without taking it."""
        while number > self._next:
            await self._waiting.setdefault(number, trio.Event()).wait()

    @asynccontextmanager
    async def take(self, number: int) -> AsyncIterator[None]:
        """Wait for the turn of ``number``; leaving without an exception passes it on.

        A step that was taken before is let through at once; ask :meth:`passed` whether there is anything left to do.
        """
        await self.wait(number)
        yield
        if number < self._next:
            return  # tried again: the turn was passed on the first time
        self._next = number + 1
        event = self._waiting.pop(self._next, None)
        if event is not None:
            event.set()
