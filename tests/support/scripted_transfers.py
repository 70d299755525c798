"""Transfers that do what a test says, and an observer and a scheduler to run them with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import attrs
import trio

from connector.errors import ConnectorError
from connector.parts import Part
from connector.transfer import BufferPool, Observer, Outcome, Progress, Retrier, Scheduler
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.steps import Backoff

Move = Callable[["Scripted", Part, memoryview, Progress], Awaitable[None]]
Step = Callable[["Scripted"], Awaitable[None]]
BUDGET = 64 * 1024**2


def parts_of(*sizes: int) -> list[Part]:
    """Parts of these sizes, one behind the other."""
    parts, start = [], 0
    for number, size in enumerate(sizes, start=1):
        parts.append(Part(number, start, start + size))
        start += size
    return parts


async def take_a_second(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
    await trio.sleep(1)
    progress(part.size)


async def do_nothing(transfer: Scripted) -> None:
    await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Scripted:
    """A transfer that notes in ``log`` when each step began and ended; the result is its label."""

    label: str
    parts: Sequence[Part] = attrs.field(factory=list)
    on_move: Move = take_a_second
    on_prepare: Step = do_nothing
    on_open: Step = do_nothing
    on_finish: Step = do_nothing
    on_close: Step = do_nothing
    log: list[tuple[float, str, str]] = attrs.field(factory=list)
    prepares: int = 0
    opens: int = 0
    closes: int = 0
    moving: int = 0
    most_moving: int = 0
    moved: list[int] = attrs.field(factory=list)

    def note(self, what: str) -> None:
        self.log.append((trio.current_time(), self.label, what))

    async def prepare(self) -> None:
        self.prepares += 1
        await self.on_prepare(self)

    async def open(self) -> Sequence[Part]:
        self.opens += 1
        self.note("open")
        await self.on_open(self)
        return self.parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        assert len(buffer) == part.size
        assert not self.closes, "moved after close"
        self.note(f"move {part.number}")
        self.moving += 1
        self.most_moving = max(self.moving, self.most_moving)
        try:
            await self.on_move(self, part, buffer, progress)
        finally:
            self.moving -= 1
        self.moved.append(part.number)
        self.note(f"moved {part.number}")

    async def finish(self) -> str:
        assert not self.moving
        self.note("finish")
        await self.on_finish(self)
        return self.label

    async def close(self) -> None:
        assert not self.moving, "closed while parts move"
        self.closes += 1
        self.note("close")
        await self.on_close(self)


@attrs.define
class Recorder:
    """An observer that remembers everything, with the time of it."""

    events: list[tuple[Any, ...]] = attrs.field(factory=list)
    through: dict[str, int] = attrs.field(factory=dict)

    def opened(self, label: str, size: int) -> None:
        self.events.append((trio.current_time(), "opened", label, size))

    def progressed(self, label: str, size: int) -> None:
        self.through[label] = self.through.get(label, 0) + size

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        self.events.append((trio.current_time(), "retried", label, delay))

    def waiting(self, label: str, delay: float, why: str) -> None:
        self.events.append((trio.current_time(), "waiting", label, why))

    def budget_raised(self, label: str, before: int, after: int) -> None:
        self.events.append((trio.current_time(), "budget", label, before, after))

    def finished(self, outcome: Outcome[Any]) -> None:
        self.events.append((trio.current_time(), "finished", outcome.label, outcome.ok))


def make_scheduler(
    limit: int | ConcurrencyLimit = 4,
    *,
    budget: int = BUDGET,
    window: int = 32,
    first: int | None = None,
    patience: float = 3600.0,
    attempts: int = 10,
    observer: Observer | None = None,
    pool: BufferPool | None = None,
) -> Scheduler:
    """A scheduler whose backoff waits exactly 1, 2, 4, ... seconds."""
    return Scheduler(
        pool=pool or BufferPool(budget),
        limit=ConcurrencyLimit.fixed(limit) if isinstance(limit, int) else limit,
        retrier=Retrier(attempts=attempts, backoff=Backoff(base=1.0, cap=60.0), uniform=lambda: 1.0),
        observer=observer or Recorder(),
        patience=patience,
        window=window,
        first=first,
    )


def labels(outcomes: Iterable[Outcome[str]]) -> list[str | None]:
    """The results: each label, or ``None`` where the transfer failed."""
    return [outcome.value for outcome in outcomes]
