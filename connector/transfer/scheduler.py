"""The generic scheduler: moves the parts of many transfers at once within bounds of memory and concurrency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import attrs
import trio

from connector.core.concurrency import ConcurrencyLimit
from connector.core.layout import Part
from connector.errors import ConnectorError
from connector.transfer.buffers import BufferPool
from connector.transfer.observer import Observer
from connector.transfer.outcome import Outcome
from connector.transfer.retry import Retrier
from connector.transfer.transfer import OverloadedError, Transfer, WindowFullError

T = TypeVar("T")


@attrs.define(eq=False)
class _Open(Generic[T]):
    """A transfer between its opening and its end."""

    transfer: Transfer[T]
    parts: Sequence[Part]
    handed_out: int = 0
    moving: int = 0
    error: ConnectorError | None = None
    scopes: set[trio.CancelScope] = attrs.field(factory=set)
    all_moved: trio.Event = attrs.field(factory=trio.Event)

    def next_part(self) -> Part | None:
        if self.error is not None or self.handed_out >= len(self.parts):
            return None
        part = self.parts[self.handed_out]
        self.handed_out += 1
        return part

    def fail(self, error: ConnectorError) -> None:
        if self.error is None:
            self.error = error
            for scope in self.scopes:
                scope.cancel()

    def settle(self) -> None:
        if not self.moving and (self.error is not None or self.handed_out >= len(self.parts)):
            self.all_moved.set()


class Scheduler:
    """Runs transfers. One instance may run several batches, one after the other or at once, within the same bounds.

    ``pool`` bounds memory, ``limit`` the parts that move at once, ``window`` the transfers that are open at once.
    Parts of the oldest open transfer go first; while it has none to give (it opens, finishes, waits), younger ones
    fill the gap. There is no task and no buffer per part up front: as many workers as the limit allows take the next
    part when they are free, and end when there is none.
    """

    def __init__(
        self,
        *,
        pool: BufferPool,
        limit: ConcurrencyLimit,
        retrier: Retrier,
        observer: Observer,
        window: int = 32,
    ) -> None:
        self._pool = pool
        self._limit = limit
        self._retrier = retrier
        self._observer = observer
        self._window = window

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        """Run all transfers and return their outcomes in the given order.

        A transfer that fails is an outcome, not an exception; cancelling this call cancels them all.
        """
        batch = _Batch[T](self._pool, self._limit, self._retrier, self._observer, self._window)
        return await batch.run(transfers)


class _Batch(Generic[T]):
    def __init__(
        self, pool: BufferPool, limit: ConcurrencyLimit, retrier: Retrier, observer: Observer, window: int
    ) -> None:
        self._pool = pool
        self._limit = limit
        self._retrier = retrier
        self._observer = observer
        self._window = trio.CapacityLimiter(window)
        self._open: dict[int, _Open[T]] = {}
        self._outcomes: dict[int, Outcome[T]] = {}
        self._workers = 0
        self._moving = 0
        self._one_ended = trio.Event()
        self._nursery: trio.Nursery

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        async with trio.open_nursery() as self._nursery:
            for number, transfer in enumerate(transfers):
                await self._window.acquire_on_behalf_of(number)
                self._nursery.start_soon(self._conduct, number, transfer)
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    # One transfer, from its opening to its outcome ------------------------------------------------------------------

    async def _conduct(self, number: int, transfer: Transfer[T]) -> None:
        outcome: Outcome[T]
        try:
            outcome = Outcome(transfer.label, value=await self._carry(number, transfer))
        except ConnectorError as error:
            outcome = Outcome(transfer.label, error=error)
        finally:
            self._open.pop(number, None)
            with trio.CancelScope(shield=True):
                await transfer.close()
            self._window.release_on_behalf_of(number)
            self._one_ended.set()
            self._one_ended = trio.Event()
        self._outcomes[number] = outcome
        self._observer.finished(outcome)

    async def _carry(self, number: int, transfer: Transfer[T]) -> T:
        parts = await self._open_when_allowed(transfer)
        entry = _Open(transfer, parts)
        self._open[number] = entry
        entry.settle()
        self._staff()
        await entry.all_moved.wait()
        if entry.error is not None:
            raise entry.error
        return await transfer.finish()

    async def _open_when_allowed(self, transfer: Transfer[T]) -> Sequence[Part]:
        """Open a transfer; if the other side's window is full, wait until one of ours has ended."""
        while True:
            try:
                return await self._retrier.run(transfer.open, notify=self._retry_notice(transfer.label))
            except WindowFullError as error:
                others = self._window.borrowed_tokens - 1
                if others == 0:
                    raise
                self._window.total_tokens = max(1, min(others, math.floor(self._window.total_tokens) - 1))
                self._observer.waiting(transfer.label, 0.0, error.message)
                await self._one_ended.wait()

    # Parts ----------------------------------------------------------------------------------------------------------

    def _staff(self) -> None:
        """Start as many workers as there are places and parts for them."""
        wanted = 0
        for entry in self._open.values():
            wanted += len(entry.parts) - entry.handed_out
            if wanted >= self._limit.limit:
                break
        for _ in range(min(wanted, self._limit.limit - self._workers)):
            self._workers += 1
            self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        try:
            while self._workers <= self._limit.limit:
                taken = self._take()
                if taken is None:
                    return
                await self._move(*taken)
        finally:
            self._workers -= 1

    def _take(self) -> tuple[_Open[T], Part] | None:
        for number in sorted(self._open) if len(self._open) > 1 else self._open:
            entry = self._open[number]
            part = entry.next_part()
            if part is not None:
                entry.moving += 1
                return entry, part
        return None

    async def _move(self, entry: _Open[T], part: Part) -> None:
        try:
            with trio.CancelScope() as scope:
                entry.scopes.add(scope)
                buffer = await self._pool.acquire(part.size)
                self._moving += 1
                try:
                    await _PartMove(self, entry, part, buffer.view).run()
                except ConnectorError as error:
                    entry.fail(error)
                finally:
                    self._moving -= 1
                    self._pool.release(buffer)
        except ConnectorError as error:  # the part is larger than the whole budget
            entry.fail(error)
        finally:
            entry.scopes.discard(scope)
            entry.moving -= 1
            entry.settle()

    def _retry_notice(self, label: str) -> Any:
        def notify(error: ConnectorError, delay: float) -> None:
            self._observer.retried(label, error, delay)

        return notify


class _PartMove(Generic[T]):
    """One part on its way, with as many tries as it takes."""

    def __init__(self, batch: _Batch[T], entry: _Open[T], part: Part, view: memoryview) -> None:
        self._batch = batch
        self._entry = entry
        self._part = part
        self._view = view
        self._through = 0

    async def run(self) -> None:
        await self._batch._retrier.run(self._try, notify=self._failed)

    async def _try(self) -> None:
        self._through = 0
        await self._entry.transfer.move(self._part, self._view, self._progressed)

    def _progressed(self, size: int) -> None:
        batch = self._batch
        self._through += size
        batch._observer.progressed(self._entry.transfer.label, size)
        before = batch._limit.limit
        if batch._limit.advanced(size, trio.current_time(), in_flight=batch._moving) > before:
            batch._staff()

    def _failed(self, error: ConnectorError, delay: float) -> None:
        batch, label = self._batch, self._entry.transfer.label
        if self._through:
            batch._observer.progressed(label, -self._through)
        if isinstance(error, OverloadedError):
            batch._limit.refused(trio.current_time())
        batch._observer.retried(label, error, delay)
