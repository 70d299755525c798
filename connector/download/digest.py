"""The sha256 of a whole file whose parts arrive in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import trio

from connector.crypt4gh.segments import Plaintext
from connector.errors import NO_RETRY, IntegrityError
from connector.parts import Part
from connector.transfer import Sequencer
from connector.wire.digests import add_pieces

_PATIENCE = 0.2
"""Seconds that a part waits for those before it. Longer, and a line that stalls under one part would stop all."""

ReadBack = Callable[[Part, memoryview], Plaintext | None]
"""Reads a part that was written into the buffer and gives its plaintext; ``None`` if it is not there. Blocks."""


class OrderedDigest:
    """Takes the plaintext of parts in their order, from memory where they come in order, else from the disk.

    A part that comes too early waits a moment with its buffer. If its turn does not come, it is left on the disk: its
    buffer and its place among the moving parts are free for others, and whoever brings the part before it reads it
    back. ``limiter`` bounds the threads in which plaintext is read and hashed.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._sha256 = hashlib.sha256()
        self._turns = Sequencer()
        self._left: dict[int, Part] = {}
        self._late = 0  # the part that others have waited for in vain: nobody else waits for it

    def is_next(self, number: int) -> bool:
        """Whether it is the turn of this part."""
        return number == self._turns.next

    def has(self, number: int) -> bool:
        """Whether this part is in the digest, or will be: a part that is tried again must not be counted twice."""
        return self._turns.is_done(number) or number in self._left

    async def take(self, part: Part, plaintext: Callable[[], Plaintext]) -> None:
        """Add what ``plaintext`` gives (it blocks, and is called in a thread) for the part whose turn it is."""
        async with self._turns.in_order(part.number):
            await self._in_thread(lambda: add_pieces(self._sha256, plaintext()))

    async def take_or_leave(self, part: Part, plaintext: Plaintext) -> None:
        """Add the plaintext of a part that stands on the disk already, or leave it there for later."""
        if self._turns.next != self._late:
            with trio.move_on_after(_PATIENCE):
                await self._turns.wait(part.number)
        if self.is_next(part.number):
            await self.take(part, lambda: plaintext)
        else:
            self._left[part.number] = part
            self._late = self._turns.next

    async def catch_up(self, buffer: memoryview, read_back: ReadBack) -> None:
        """Add the parts that were left and whose turn has come; ``buffer`` must be as long as the longest of them.

        Raises :class:`~connector.errors.IntegrityError` if one of them is no longer there.
        """
        while (part := self._left.pop(self._turns.next, None)) is not None:
            await self.take(part, partial(_written, part, buffer[: part.size], read_back))

    def hexdigest(self) -> str:
        """The sha256 of all parts so far, lower case hex."""
        return self._sha256.hexdigest()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(work, limiter=self._limiter)


def _written(part: Part, buffer: memoryview, read_back: ReadBack) -> Plaintext:
    plaintext = read_back(part, buffer)
    if plaintext is None:
        raise IntegrityError(
            f"The disk no longer holds bytes {part.start} to {part.stop} as they were written a moment ago.",
            hint="Check the disk, then run the same command again: those bytes are fetched anew.",
            advice=NO_RETRY,
        )
    return plaintext
