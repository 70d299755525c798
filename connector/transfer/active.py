"""A transfer that is open, and one of its parts on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import trio

from connector.errors import ConnectorError
from connector.parts import Part
from connector.transfer.transfer import OverloadedError, Transfer

if TYPE_CHECKING:
    from connector.transfer.scheduler import Scheduler

T = TypeVar("T")


@attrs.define(eq=False)
class ActiveTransfer(Generic[T]):
    """A transfer between its opening and its end."""

    transfer: Transfer[T]
    parts: Sequence[Part]
    dispatched: int = 0
    moving: int = 0
    error: ConnectorError | None = None
    scopes: set[trio.CancelScope] = attrs.field(factory=set)
    all_moved: trio.Event = attrs.field(factory=trio.Event)

    def next_part(self) -> Part | None:
        """Return the next part to move, ``None`` if there is none or the transfer has failed."""
        if self.error is not None or self.dispatched >= len(self.parts):
            return None
        part = self.parts[self.dispatched]
        self.dispatched += 1
        return part

    def fail(self, error: ConnectorError) -> None:
        """Cancel the parts that move; the first error counts."""
        if self.error is None:
            self.error = error
            for scope in self.scopes:
                scope.cancel()

    def check_done(self) -> None:
        """Set the event if nothing moves and nothing more will."""
        if not self.moving and (self.error is not None or self.dispatched >= len(self.parts)):
            self.all_moved.set()

    async def stop(self) -> None:
        """Dispatch nothing more and wait until the parts that move have released buffer and file."""
        self.dispatched = len(self.parts)
        self.check_done()
        await self.all_moved.wait()


class PartMove(Generic[T]):
    """One part on its way, with as many tries as it takes."""

    def __init__(self, scheduler: Scheduler, entry: ActiveTransfer[T], part: Part, view: memoryview) -> None:
        self._scheduler = scheduler
        self._entry = entry
        self._part = part
        self._view = view
        self._through = 0
        self._farthest = 0

    async def run(self) -> None:
        """Move the part; raises the error of the last try."""
        await self._scheduler.retrier.run(self._try, notify=self._failed, made_progress=self._got_farther)

    async def _try(self) -> None:
        self._through = 0
        await self._entry.transfer.move(self._part, self._view, self._progressed)

    def _progressed(self, size: int) -> None:
        scheduler = self._scheduler
        self._through += size
        scheduler.observer.progressed(self._entry.transfer.label, size)
        before = scheduler.limit.limit
        if scheduler.limit.advanced(size, trio.current_time(), in_flight=scheduler.moving) > before:
            scheduler.staff()

    def _got_farther(self) -> bool:
        before, self._farthest = self._farthest, max(self._farthest, self._through)
        return self._farthest > before

    def _failed(self, error: ConnectorError, delay: float) -> None:
        scheduler, label = self._scheduler, self._entry.transfer.label
        if self._through:
            scheduler.observer.progressed(label, -self._through)
        if isinstance(error, OverloadedError):
            scheduler.limit.refused(trio.current_time())
        scheduler.observer.retried(label, error, delay)
