"""The interface between scheduler and transfers, and what transfers share: context, ordered and concurrent steps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar, TypeVarTuple

import attrs
import trio

from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.parts import Part
from connector.transfer.reporting import GuardedObserver, Observer
from persistence.threads import gil_yielder

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
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


def _guarded(observer: Observer) -> GuardedObserver:
    return GuardedObserver.of(observer)


@attrs.frozen(kw_only=True)
class RunContext:
    """What all transfers of a run share; passed to each as one value.

    Attributes:
        threads: Bounds the threads for blocking work.
        observer: Receives the events of transfers.
        part_size: The requested size of parts in bytes.
        uniform: Returns random numbers from [0, 1).
    """

    threads: trio.CapacityLimiter
    observer: GuardedObserver = attrs.field(converter=_guarded)
    part_size: int
    uniform: Callable[[], float] = random.random

    async def in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run `work`, which blocks, in one of the threads, also beside a task that never idles."""
        with gil_yielder():
            return await trio.to_thread.run_sync(work, *arguments, limiter=self.threads)


class Sequencer:
    """Runs steps in the order of their numbers, whatever order they arrive in, as the digest of a file requires."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._waiting: dict[int, trio.Event] = {}

    @property
    def next(self) -> int:
        """The number of the step that runs next."""
        return self._next

    def is_done(self, number: int) -> bool:
        """Whether this step has run: a part that is moved again must not be counted twice."""
        return number < self._next

    async def wait(self, number: int) -> None:
        """Wait until `number` is next, without running it."""
        while number > self._next:
            await self._waiting.setdefault(number, trio.Event()).wait()

    @asynccontextmanager
    async def in_order(self, number: int) -> AsyncIterator[None]:
        """Wait until `number` is next; leaving the block without an exception makes the following step next.

        A step that has run before enters at once; see `is_done`.
        """
        await self.wait(number)
        yield
        if number < self._next:
            return  # a part that is moved again: the following step is next already
        self._next = number + 1
        event = self._waiting.pop(self._next, None)
        if event is not None:
            event.set()


async def run_concurrently(*steps: Callable[[], Awaitable[object]]) -> None:
    """Run all steps at once and wait for them.

    A step that fails does not stop the others; when all have ended, the first error in the given order is raised, not
    in a group.
    """
    errors: dict[int, ConnectorError] = {}

    async def collect_error(number: int) -> None:
        try:
            await steps[number]()
        except ConnectorError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(steps)):
            nursery.start_soon(collect_error, number)
    if errors:
        raise errors[min(errors)]
