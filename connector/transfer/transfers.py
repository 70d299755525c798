"""Transfers as the scheduler sees them: their interface, the state of an open one, and how many may be open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs
import trio

from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.parts import Part

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Progress = Callable[[int], None]
"""Callback: bytes transferred since the last call."""


class Transfer(Protocol[T_co]):
    """The transfer of one file: the scheduler calls `prepare`, `open`, `move` for each part, `finish` and `close`.

    Each may raise a `ConnectorError`, which ends this transfer alone; any other exception does so too, and is reported
    as a bug. After an error that advises a restart, all steps run again from `prepare` on, once for each cause.
    """

    @property
    def label(self) -> str:
        """The name of this transfer in messages."""

    async def prepare(self) -> None:
        """Do what needs no slot of the archive, while the transfer waits for one."""

    async def open(self) -> Sequence[Part]:
        """Begin, and return the parts in the order in which to move them. Nothing may be allocated per part."""

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Move one part, using `buffer` (of the part's size) and no other memory of that order.

        Called again, with the buffer as the failed call left it, when an error advises so. Parts of one transfer move
        concurrently.
        """

    async def finish(self) -> T_co:
        """Check the whole and complete it; called when all parts were moved."""

    async def close(self) -> None:
        """Release all resources; always called at the end. What was done must stay resumable."""


class TooManyOpenTransfersError(RefusedError):
    """The archive allows no more open transfers at the moment: one of ours or of another client has to end first."""


class OverloadedError(BrokenError):
    """The server is overloaded (429, 503) or the request timed out: fewer concurrent requests may help."""


class NotReadyError(BrokenError):
    """A transfer cannot begin or go on yet; it yields its slot to others and is opened again after `seconds`."""

    def __init__(self, message: str, *, seconds: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


@attrs.define(eq=False)
class ActiveTransfer(Generic[T]):
    """What is known of a transfer that is open.

    Attributes:
        parts: all of its parts, in their order.
        dispatched: how many of them workers have taken.
        moving: how many of those are not moved yet.
        error: why it fails, once it does.
        scopes: cancel the moves of its parts.
        all_moved: set when no part is left to be moved, or to be stopped after an error.
    """

    transfer: Transfer[T]
    parts: Sequence[Part]
    dispatched: int = 0
    moving: int = 0
    error: ConnectorError | None = None
    scopes: set[trio.CancelScope] = attrs.field(factory=set)
    all_moved: trio.Event = attrs.field(factory=trio.Event)

    def next_part(self) -> Part | None:
        """The next part to be moved, or None if none is left or the transfer has failed."""
        if self.error is not None or self.dispatched >= len(self.parts):
            return None
        part = self.parts[self.dispatched]
        self.dispatched += 1
        return part

    def fail(self, error: ConnectorError) -> None:
        """Note the first error and stop the moves of the other parts."""
        if self.error is None:
            self.error = error
            for scope in self.scopes:
                scope.cancel()

    def check_done(self) -> None:
        """Set `all_moved` if that is so."""
        if not self.moving and (self.error is not None or self.dispatched >= len(self.parts)):
            self.all_moved.set()

    async def stop(self) -> None:
        """Have no further part taken, and wait for those that are moving."""
        self.dispatched = len(self.parts)
        self.check_done()
        await self.all_moved.wait()


NotifyFull = Callable[[TooManyOpenTransfersError, float], None]
"""Callback: other processes hold all slots of the archive, which is asked again after so many seconds."""

_MAX_YIELDED = 1000
"""Transfers that may wait without a slot: each is a task, and a batch may have any number of files."""
_MIN_POLL, _MAX_POLL = 1.0, 30.0
"""Seconds between two requests for a slot that others hold; they grow with the time waited so far."""
_GROWTH_DIVISOR = 4
"""One slot more is tried for every so many that were granted."""
_GRANTS_PER_RETRY = 16
"""After a refusal one slot more is tried after so many grants per slot: other processes may have released."""
_ADMITTED_PER_SLOT = 2
"""Admitted transfers per slot: one that holds it, and one that is prepared to take it over."""


class OpenTransferLimiter:
    """Admits up to `size` transfers at once, each of which needs a slot of the archive to be open there.

    A transfer is admitted, prepares itself, and acquires its slot. At first, `first` of them request one at once
    (`size`, if not given); more as slots are granted, up to `size`, and fewer once the archive allows fewer. A transfer
    that was refused tries again when one of ours has released its slot; as many others as there are slots are prepared
    meanwhile, so that no slot stays empty for long. When none of ours is open, the slots are held by another process
    (one that uploads into the same box): then one transfer polls, until no slot was granted for `patience` seconds.
    """

    def __init__(self, size: int, *, patience: float, first: int | None = None) -> None:
        self._size = size
        self._first = size if first is None else min(first, size)
        self._patience = patience
        self._full_since: float | None = None
        self._admitted = trio.CapacityLimiter(size)
        self._remote_slots = trio.CapacityLimiter(size)
        self._inside: set[object] = set()
        self._holders: set[object] = set()
        self._granted_to: set[object] = set()
        self._shrunk = False
        self._granted_since = 0
        self._yielded = 0
        self._released = 0

    @property
    def size(self) -> int:
        """Transfers that may be open in the archive at once from now on."""
        return int(self._remote_slots.total_tokens)

    async def admit(self, transfer: object) -> None:
        """Wait until there is room; `transfer` is any object that identifies the transfer."""
        if not self._admitted.borrowed_tokens:
            self._reset_estimate()  # what was learned may be outdated
        await self._admitted.acquire_on_behalf_of(transfer)
        self._inside.add(transfer)

    async def yield_slot(self, transfer: object, seconds: float) -> None:
        """Wait for `seconds` without a slot, unless very many transfers do so already."""
        if self._yielded >= _MAX_YIELDED:
            await trio.sleep(seconds)
            return
        self._yielded += 1
        self.exit(transfer)
        try:
            await trio.sleep(seconds)
        finally:
            self._yielded -= 1
        await self.admit(transfer)

    def exit(self, transfer: object) -> None:
        """End the admission, and release the slot if that was not done before."""
        self.release(transfer)
        if transfer in self._inside:
            self._inside.remove(transfer)
            self._admitted.release_on_behalf_of(transfer)

    def release(self, transfer: object) -> None:
        """Release the slot: the transfer is no longer open in the archive."""
        if transfer in self._holders:
            self._released += 1
            self._free_slot(transfer)

    async def acquire(self, transfer: object, step: Callable[[], Awaitable[T]], *, full: NotifyFull) -> T:
        """Run `step` with a slot until the archive accepts it; the slot is held from then on.

        Raises:
            TooManyOpenTransfersError: The last one, if no slot was granted for too long.
        """
        while True:
            if transfer not in self._holders:
                await self._remote_slots.acquire_on_behalf_of(transfer)
                self._holders.add(transfer)
            released = self._released
            try:
                result = await step()
            except TooManyOpenTransfersError as error:
                if released != self._released:
                    continue  # a slot of the archive may have become free after the refusal
                others = self._remote_slots.borrowed_tokens - 1
                if others:
                    self._shrink(others)
                    self._free_slot(transfer)
                    continue
                pause = self._pause()
                if pause is None:
                    raise
                full(error, pause)
                await trio.sleep(pause)
            else:
                self._granted(transfer)
                return result

    def _granted(self, transfer: object) -> None:
        self._granted_to.add(transfer)
        if self._full_since is not None:
            self._reset_estimate()  # others held the slots: more may be free by now
        self._granted_since += 1
        if not self._shrunk:
            granted = len(self._granted_to)
            self._set_slots(max(self.size, granted + max(1, granted // _GROWTH_DIVISOR)))
        elif self._granted_since >= _GRANTS_PER_RETRY * self.size:
            self._granted_since = 0
            self._set_slots(self.size + 1)

    def _reset_estimate(self) -> None:
        """Forget what was learned about the archive."""
        self._full_since = None
        self._shrunk = False
        self._set_slots(self._first)

    def _shrink(self, slots: int) -> None:
        self._shrunk = True
        self._granted_since = 0
        self._set_slots(min(self.size, slots))

    def _set_slots(self, slots: int) -> None:
        self._remote_slots.total_tokens = min(self._size, slots)
        self._admitted.total_tokens = min(self._size, _ADMITTED_PER_SLOT * slots)

    def _free_slot(self, transfer: object) -> None:
        self._holders.remove(transfer)
        self._granted_to.discard(transfer)
        self._remote_slots.release_on_behalf_of(transfer)

    def _pause(self) -> float | None:
        """Seconds until the next request for a slot, `None` after `patience` seconds."""
        now = trio.current_time()
        if self._full_since is None:
            self._full_since = now
        waited = now - self._full_since
        return None if waited >= self._patience else min(_MIN_POLL + waited / 4, _MAX_POLL)
