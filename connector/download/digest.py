"""The sha256 of a file whose parts arrive in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import trio

from connector.crypt4gh.segments import Plaintext
from connector.errors import NO_RETRY, IntegrityError
from connector.parts import Part
from connector.transfer import RunContext, Sequencer
from connector.wire.digests import add_pieces

_MAX_REORDER_WAIT = 0.2
"""Seconds that a part waits for those before it; longer, and one stalled connection would block all parts."""

ReadBack = Callable[[Part, memoryview], Plaintext | None]
"""Reads a written part into the buffer and returns its plaintext; `None` if it is missing or damaged. Blocks."""


class OrderedDigest:
    """Adds the plaintext of parts in their order: from memory if they arrive in order, otherwise from the disk.

    A part that arrives early waits a moment with its buffer. Then it is deferred: its buffer is freed, and it is read
    back from the disk after the part before it.
    """

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._sha256 = hashlib.sha256()
        self._sequencer = Sequencer()
        self._deferred: dict[int, Part] = {}
        self._stalled = 0  # the part that others have waited for too long: no other waits for it

    def is_next(self, number: int) -> bool:
        """Whether this part is added next."""
        return number == self._sequencer.next

    def has(self, number: int) -> bool:
        """Whether this part was added or deferred: a part that is moved again must not be counted twice."""
        return self._sequencer.is_done(number) or number in self._deferred

    async def add(self, part: Part, plaintext: Callable[[], Plaintext]) -> None:
        """Add what `plaintext` returns (it is called in a thread) after the parts before this one."""
        async with self._sequencer.in_order(part.number):
            await self._run.in_thread(lambda: add_pieces(self._sha256, plaintext()))

    async def add_or_defer(self, part: Part, plaintext: Plaintext) -> None:
        """Add the plaintext of a part that was written already, or defer it."""
        if self._sequencer.next != self._stalled:
            with trio.move_on_after(_MAX_REORDER_WAIT):
                await self._sequencer.wait(part.number)
        if self.is_next(part.number):
            await self.add(part, lambda: plaintext)
        else:
            self._deferred[part.number] = part
            self._stalled = self._sequencer.next

    async def catch_up(self, buffer: memoryview, read_back: ReadBack) -> None:
        """Add the deferred parts that are next; `buffer` must be as long as the longest of them.

        Raises:
            IntegrityError: If one of them is missing or damaged.
        """
        while (part := self._deferred.pop(self._sequencer.next, None)) is not None:
            await self.add(part, partial(_written, part, buffer[: part.size], read_back))

    def hexdigest(self) -> str:
        """The sha256 of all parts so far, lower case hex."""
        return self._sha256.hexdigest()


def _written(part: Part, buffer: memoryview, read_back: ReadBack) -> Plaintext:
    plaintext = read_back(part, buffer)
    if plaintext is None:
        raise IntegrityError(
            f"The disk no longer holds bytes {part.start} to {part.stop} as they were written.",
            hint="Check the disk, then run the same command again: those bytes are fetched again.",
            advice=NO_RETRY,
        )
    return plaintext
