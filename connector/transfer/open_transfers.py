"""How many transfers may be open at once: our own bound, and the other side's as it shows itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from connector.transfer.transfer import TooManyOpenTransfersError

T = TypeVar("T")

TurnedAway = Callable[[TooManyOpenTransfersError, float], None]
"""Is told that a transfer waits for others to make room, and for how long until it asks again."""

_MOST_ASIDE = 1000
"""Transfers that may wait outside: each is a task, and a batch may have any number of files."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until it is asked again whether others have made room; the pauses grow with the time waited so far."""
_SHARE_TRIED = 4
"""One place more is tried for every so many that were granted."""
_TRIED_AGAIN = 16
"""Once turned away, one more is tried after so many grants for each place: who took the others may be done."""
_PREPARED = 2
"""Transfers inside for each place: one that has it, and another that is prepared to take it over."""


class OpenTransferLimiter:
    """Holds up to ``size`` transfers at once, each of which needs a place on the other side to be open there.

    A transfer comes in, prepares itself, and asks for its place. At first ``first`` of them ask at once (``size``, if
    not given), more as places are granted, up to ``size``, and fewer once the other side was found to allow fewer. A
    transfer that was turned away asks again when one of ours has given its place back. Meanwhile as many others as
    there are places stand prepared, so that none stays empty for long. When none of ours is left whose end could be
    waited for, the places are taken by somebody else (another process that uploads into the same box): then one asks
    from time to time, until nobody of ours has been let in for ``patience`` seconds.
    """

    def __init__(self, size: int, *, patience: float, first: int | None = None) -> None:
        self._size = size
        self._first = size if first is None else min(first, size)
        self._patience = patience
        self._shut_since: float | None = None
        self._seats = trio.CapacityLimiter(size)
        self._places = trio.CapacityLimiter(size)
        self._inside: set[object] = set()
        self._placed: set[object] = set()
        self._let_in: set[object] = set()
        self._narrowed = False
        self._granted_since = 0
        self._aside = 0
        self._ended = 0

    @property
    def size(self) -> int:
        """Transfers that may be open on the other side at once from now on."""
        return int(self._places.total_tokens)

    async def enter(self, transfer: object) -> None:
        """Come in as soon as there is room; ``transfer`` is any object that stands for the one that comes."""
        if not self._seats.borrowed_tokens:
            self._hope()  # what was learned may have changed since
        await self._seats.acquire_on_behalf_of(transfer)
        self._inside.add(transfer)

    async def step_aside(self, transfer: object, seconds: float) -> None:
        """Wait for so long, with the room left to others unless very many have stepped aside already."""
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
        """Go, with the place given back if that was not done before."""
        self.give_back(transfer)
        if transfer in self._inside:
            self._inside.remove(transfer)
            self._seats.release_on_behalf_of(transfer)

    def give_back(self, transfer: object) -> None:
        """Let the next one ask: the other side holds this one open no more."""
        if transfer in self._placed:
            self._ended += 1
            self._vacate(transfer)

    async def ask(self, transfer: object, step: Callable[[], Awaitable[T]], *, turned_away: TurnedAway) -> T:
        """Run ``step`` with a place until the other side does not turn it away; the place is kept from then on.

        Raises the last `TooManyOpenTransfersError` when there is no room for too long.
        """
        while True:
            if transfer not in self._placed:
                await self._places.acquire_on_behalf_of(transfer)
                self._placed.add(transfer)
            ended = self._ended
            try:
                result = await step()
            except TooManyOpenTransfersError as error:
                if ended != self._ended:
                    continue  # a place may have come free on the other side after it had said no
                others = self._places.borrowed_tokens - 1
                if others:
                    self._narrow(others)
                    self._vacate(transfer)
                    continue
                pause = self._pause()
                if pause is None:
                    raise
                turned_away(error, pause)
                await trio.sleep(pause)
            else:
                self._granted(transfer)
                return result

    def _granted(self, transfer: object) -> None:
        self._let_in.add(transfer)
        if self._shut_since is not None:
            self._hope()  # others were in the way: there may be room for more of ours by now
        self._granted_since += 1
        if not self._narrowed:
            granted = len(self._let_in)
            self._allow(max(self.size, granted + max(1, granted // _SHARE_TRIED)))
        elif self._granted_since >= _TRIED_AGAIN * self.size:
            self._granted_since = 0
            self._allow(self.size + 1)

    def _hope(self) -> None:
        """Forget what was learned about the other side."""
        self._shut_since = None
        self._narrowed = False
        self._allow(self._first)

    def _narrow(self, places: int) -> None:
        self._narrowed = True
        self._granted_since = 0
        self._allow(min(self.size, places))

    def _allow(self, places: int) -> None:
        self._places.total_tokens = min(self._size, places)
        self._seats.total_tokens = min(self._size, _PREPARED * places)

    def _vacate(self, transfer: object) -> None:
        self._placed.remove(transfer)
        self._let_in.discard(transfer)
        self._places.release_on_behalf_of(transfer)

    def _pause(self) -> float | None:
        """Seconds until somebody else may have made room, ``None`` if that has been hoped for long enough."""
        now = trio.current_time()
        if self._shut_since is None:
            self._shut_since = now
        waited = now - self._shut_since
        return None if waited >= self._patience else min(_FIRST_PAUSE + waited / 4, _LONGEST_PAUSE)
