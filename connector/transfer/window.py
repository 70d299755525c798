"""How many transfers may be open at once: our own bound, and the other side's as it shows itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from connector.transfer.transfer import WindowFullError

T = TypeVar("T")

TurnedAway = Callable[[WindowFullError, float], None]
"""Is told that a transfer waits, and for how long until it asks again: 0 if only until one of ours has ended."""

_MOST_ASIDE = 1000
"""Transfers that may wait outside: each is a task, and a batch may have any number of files."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until it is asked again whether others have made room; the pauses grow with the time waited so far."""


class Window:
    """Admits up to ``size`` transfers at once, and fewer once the other side was found to allow fewer.

    A transfer that the other side turned away waits in line, and one of the line asks again whenever a transfer of
    ours ends: never all of them. When none of ours is left whose end could be waited for, the places are taken by
    somebody else (another process that uploads into the same box): then one asks from time to time, until nobody of
    ours has been let in for ``patience`` seconds.
    """

    def __init__(self, size: int, *, patience: float) -> None:
        self._size = size
        self._patience = patience
        self._shut_since: float | None = None
        self._places = trio.CapacityLimiter(size)
        self._line = trio.lowlevel.ParkingLot()
        self._inside: set[object] = set()
        self._aside = 0
        self._busy = 0
        self._ended = 0

    @property
    def size(self) -> int:
        """Transfers that are let in at once from now on."""
        return int(self._places.total_tokens)

    async def enter(self, transfer: object) -> None:
        """Wait for a place; ``transfer`` is any object that stands for its holder."""
        if not self._places.borrowed_tokens:
            self._places.total_tokens, self._shut_since = self._size, None  # what was learned may have changed since
        await self._places.acquire_on_behalf_of(transfer)
        self._inside.add(transfer)
        self._busy += 1

    async def step_aside(self, transfer: object, seconds: float) -> None:
        """Wait for so long, with the place left to others unless very many have stepped aside already."""
        if self._aside >= _MOST_ASIDE:
            await trio.sleep(seconds)
            return
        self._aside += 1
        self.leave(transfer)
        try:
            await trio.sleep(seconds)
        finally:
            self._aside -= 1
        await self.enter(transfer)

    def leave(self, transfer: object) -> None:
        """Give the place back if there is one, and let the first of those that were turned away ask again."""
        if transfer not in self._inside:
            return
        self._inside.remove(transfer)
        self._places.release_on_behalf_of(transfer)
        self._busy -= 1
        self._ended += 1
        self._busy += len(self._line.unpark())

    async def ask(self, step: Callable[[], Awaitable[T]], *, turned_away: TurnedAway) -> T:
        """Run ``step`` until the other side does not turn it away, each time after a transfer of ours has ended.

        Raises the last :class:`~connector.transfer.transfer.WindowFullError` when others leave no room for too long.
        """
        while True:
            ended = self._ended
            try:
                result = await step()
            except WindowFullError as error:
                if ended != self._ended:
                    continue  # a place may have come free on the other side after it had said no
                others = self._busy - 1
                if others == 0:
                    pause = self._pause()
                    if pause is None:
                        raise
                    turned_away(error, pause)
                    await trio.sleep(pause)
                    continue
                self._places.total_tokens = min(self._places.total_tokens, others)
                turned_away(error, 0.0)
            else:
                self._let_in()
                return result
            await self._wait_in_line()

    def _pause(self) -> float | None:
        """Seconds until somebody else may have made room, ``None`` if that has been hoped for long enough."""
        now = trio.current_time()
        if self._shut_since is None:
            self._shut_since = now
        waited = now - self._shut_since
        return None if waited >= self._patience else min(_FIRST_PAUSE + waited / 4, _LONGEST_PAUSE)

    def _let_in(self) -> None:
        """If others were in the way, what was learned meanwhile is past: there may be room for more of ours."""
        if self._shut_since is not None:
            self._shut_since = None
            self._places.total_tokens = self._size
            self._busy += len(self._line.unpark_all())

    async def _wait_in_line(self) -> None:
        self._busy -= 1
        try:
            await self._line.park()
        except trio.Cancelled:
            self._busy += 1
            raise
