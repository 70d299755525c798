"""The interface between the scheduler and transfers of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from connector.errors import BrokenError, RefusedError
from connector.parts import Part

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
    """A transfer cannot be opened yet; it yields its slot to others and is opened again after `seconds`."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
