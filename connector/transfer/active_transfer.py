"""A transfer that is open: which of its parts are taken, and whether it has failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs
import trio

from connector.errors import ConnectorError
from connector.parts import Part
from connector.transfer.transfer import Transfer

T = TypeVar("T")


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
