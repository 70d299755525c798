"""What the scheduler asks of a transfer. It knows nothing else of downloads, uploads or decryption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from connector.errors import BrokenError, RefusedError
from connector.parts import Part

T_co = TypeVar("T_co", covariant=True)

Progress = Callable[[int], None]
"""Told of every few bytes that went through, as they do."""


class Transfer(Protocol[T_co]):
    """One file on its way: the scheduler calls `prepare`, `open`, `move` for each part, `finish` and `close`.

    Each may raise a `ConnectorError`; that ends this transfer alone, as any other exception
    does, which is taken for a bug. An error that advises a restart has all of it done again, from `prepare` on, once
    for each cause.
    """

    @property
    def label(self) -> str:
        """What people know this transfer by."""

    async def prepare(self) -> None:
        """Do what can be done before the other side takes note of this transfer, while it waits to be let in."""

    async def open(self) -> Sequence[Part]:
        """Begin, and return the parts to move, in the order to hand them out. Nothing may be allocated per part."""

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Move one part, using `buffer` (of the part's size) and nothing like it besides.

        Called again, with the buffer as it was left, when an error advises so. Parts of one transfer move at the same
        time.
        """

    async def finish(self) -> T_co:
        """All parts are through: check the whole and put it in its place."""

    async def close(self) -> None:
        """Let go of everything; called at the end, whatever happened. Must leave what was done resumable."""


class TooManyOpenTransfersError(RefusedError):
    """The other side allows no more open transfers at the moment: one has to end first, of ours or of others."""


class OverloadedError(BrokenError):
    """The other side is too busy (429, 503) or did not answer in time: fewer requests at once may help."""


class NotReadyError(BrokenError):
    """A transfer cannot be opened yet; it gives its place to others and is opened again after `seconds`."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
