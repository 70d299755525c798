"""The generic scheduler: moves the parts of many transfers at once within bounds of memory and concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

import trio

from connector.errors import ConnectorError, UsageError
from connector.parts import Part, memory_budget
from connector.transfer.buffers import BufferPool
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.reporting import GuardedObserver, Observer, Outcome, as_connector_error, drop_tracebacks
from connector.transfer.steps import Retrier, check_in_trio
from connector.transfer.transfers import (
    ActiveTransfer,
    NotReadyError,
    OpenTransferLimiter,
    OverloadedError,
    TooManyOpenTransfersError,
    Transfer,
)

T = TypeVar("T")


class Scheduler:
    """Runs batches of transfers, one after the other or at once, within the same bounds.

    Parts of the oldest open transfer go first; if it has none left, those of the next one. No task and no buffer is
    created per part in advance: workers, as many as the limit allows, take the next part, and end if there is none.

    Args:
        pool: bounds the memory of part buffers.
        limit: how many parts move at once.
        retrier: the retry loop around each step; `observer` receives the events.
        window: transfers that are open at once.
        first: how many request a slot before it is known whether the archive allows more; all by default.
        patience: seconds for which opening is retried while other clients hold all slots of the archive.
        round_trip: returns that of the line in seconds, 0 if it is not known, for the limit.
    """

    def __init__(
        self,
        *,
        pool: BufferPool,
        limit: ConcurrencyLimit,
        retrier: Retrier,
        observer: Observer,
        window: int = 48,
        first: int | None = None,
        patience: float = 3600.0,
        round_trip: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.pool = pool
        self.limit = limit
        self.retrier = retrier
        self.observer = GuardedObserver.of(observer)
        self.open_transfers = OpenTransferLimiter(window, first=first, patience=patience)
        self.workers = 0
        self.tries = trio.CapacityLimiter(limit.limit)  # a part that was refused waits until it is within the limit
        self.moving = 0
        self.buffered = 0
        self.round_trip = round_trip
        self._budget = pool.budget
        self._batches: list[_Batch[Any]] = []
        self._closed = False

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        """Run all transfers and return their outcomes in the given order, those of failed ones included.

        Cancelling this call cancels them all.

        Raises:
            UsageError: After `close`, or outside trio.
        """
        check_in_trio("Scheduler.run", "call it below trio.run(...)")
        self.check_open()
        batch = _Batch[T](self)
        self._batches.append(batch)
        try:
            outcomes = await batch.run(transfers)
        finally:
            self._batches.remove(batch)
            self.spawn_workers()
        self.check_open()
        return outcomes

    async def run_rest(self, known: Iterable[Outcome[T] | None], transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        """Report outcomes that are known already, run the transfers of the others (`None`), and return all in order."""
        done: list[Outcome[T] | None] = []
        for outcome in known:
            done.append(None if outcome is None else self.finished(outcome))
            await trio.lowlevel.checkpoint()
        moved = iter(await self.run(transfers))
        return [next(moved) if outcome is None else outcome for outcome in done]

    def check_open(self) -> None:
        """Raise `UsageError` if the scheduler was closed."""
        if self._closed:
            raise UsageError("The session has ended.", hint="Use it inside the block that opened it, or open another.")

    def finished(self, outcome: Outcome[T]) -> Outcome[T]:
        """Report a file that has ended, moved or not, to the observer, and return its final outcome."""
        outcome = self.observer.checked(outcome)
        self.observer.finished(outcome)
        return self.observer.checked(outcome)

    def close(self) -> None:
        """Cancel running transfers, accept no more, and free the memory of the buffers."""
        self._closed = True
        for batch in self._batches:
            batch.nursery.cancel_scope.cancel()
        self.pool.close()

    def spawn_workers(self) -> None:
        """Start as many workers as the limit and the parts allow, for the oldest batch first."""
        for batch in self._batches:
            batch.spawn_workers(self.limit.limit - self.workers)

    def report_budget(self, label: str, part_size: int) -> None:
        """Report to the observer if a part of this size takes more memory than the budget that it knows."""
        before, self._budget = self._budget, memory_budget(self._budget, part_size)
        if self._budget > before:
            self.observer.budget_raised(label, before, self._budget)


class _PartMove:
    """The tries of moving one part."""

    def __init__(self, scheduler: Scheduler, transfer: Transfer[Any], part: Part, buffer: memoryview) -> None:
        self._scheduler = scheduler
        self._transfer = transfer
        self._part = part
        self._buffer = buffer
        self._moved = 0
        self._most = 0

    async def try_once(self) -> None:
        self._moved = 0
        tries = self._scheduler.tries
        try:
            tries.acquire_nowait()  # no checkpoint: parts begin in their order
        except trio.WouldBlock:
            await tries.acquire()
        try:
            await self._transfer.move(self._part, self._buffer, self._progressed)
        finally:
            tries.release()

    def made_progress(self) -> bool:
        """Whether the try that failed moved more than all before."""
        before, self._most = self._most, max(self._most, self._moved)
        return self._most > before

    def failed(self, error: ConnectorError, delay: float) -> None:
        scheduler, label = self._scheduler, self._transfer.label
        if self._moved:
            scheduler.observer.progressed(label, -self._moved)
        if isinstance(error, OverloadedError):
            scheduler.tries.total_tokens = scheduler.limit.refused(trio.current_time())
        scheduler.observer.retried(label, error, delay)

    def _progressed(self, size: int) -> None:
        scheduler = self._scheduler
        self._moved += size
        scheduler.observer.progressed(self._transfer.label, size)
        limit, now = scheduler.limit, trio.current_time()
        before, line = limit.limit, scheduler.round_trip()
        moving, buffered = scheduler.moving, scheduler.buffered
        after = limit.advanced(size, now, in_flight=moving, buffered=buffered, round_trip=line)
        if after != before:
            scheduler.tries.total_tokens = after
            scheduler.spawn_workers()


class _Batch(Generic[T]):
    """The transfers of one call of `Scheduler.run`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._active: dict[int, ActiveTransfer[T]] = {}
        self._outcomes: dict[int, Outcome[T]] = {}
        self.nursery: trio.Nursery

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        async with trio.open_nursery() as self.nursery:
            for number, transfer in enumerate(transfers):
                await self._scheduler.open_transfers.admit((self, number))
                self.nursery.start_soon(self._run_transfer, number, transfer)
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    async def _run_transfer(self, number: int, transfer: Transfer[T]) -> None:
        observer, open_transfers = self._scheduler.observer, self._scheduler.open_transfers
        restarts: set[str] = set()
        try:
            outcome = await self._try_once(number, transfer)
            while outcome.error is not None:
                cause = outcome.error.advice.restart
                if isinstance(outcome.error, NotReadyError):
                    observer.waiting(transfer.label, outcome.error.seconds, outcome.error.message)
                    drop_tracebacks(outcome.error)  # it is kept for as long as the transfer waits
                    await open_transfers.yield_slot((self, number), outcome.error.seconds)
                elif cause and cause not in restarts:
                    restarts.add(cause)
                    observer.retried(transfer.label, outcome.error, 0.0)
                else:
                    break
                outcome = await self._try_once(number, transfer)
        finally:
            open_transfers.exit((self, number))
        self._outcomes[number] = self._scheduler.finished(outcome)

    async def _try_once(self, number: int, transfer: Transfer[T]) -> Outcome[T]:
        outcome = Outcome[T](transfer.label)
        failure: ConnectorError | None = None
        try:
            outcome = Outcome(transfer.label, value=await self._run_phases(number, transfer))
        except* Exception as failed:  # a cancellation in the same group is raised further
            outcome = Outcome(transfer.label, error=as_connector_error(failed))
        finally:
            with trio.CancelScope(shield=True):
                if active := self._active.pop(number, None):
                    await active.stop()  # parts in flight release their buffer and the file first
                try:
                    await transfer.close()
                except* Exception as failed:
                    failure = as_connector_error(failed)
        return Outcome(transfer.label, error=failure) if failure is not None and outcome.ok else outcome

    async def _run_phases(self, number: int, transfer: Transfer[T]) -> T:
        scheduler, label = self._scheduler, transfer.label
        retry_notice = partial(scheduler.observer.retried, label)

        def waits_for_others(error: TooManyOpenTransfersError, delay: float) -> None:
            scheduler.observer.waiting(label, delay, f"{error.message} {error.hint}".rstrip())

        await scheduler.retrier.run(transfer.prepare, notify=retry_notice)
        opening = partial(scheduler.retrier.run, transfer.open, notify=retry_notice)
        parts = await scheduler.open_transfers.acquire((self, number), opening, full=waits_for_others)
        scheduler.report_budget(label, parts[0].size if len(parts) else 0)  # no part is larger than the first
        active = self._active[number] = ActiveTransfer(transfer, parts)
        active.check_done()
        scheduler.spawn_workers()
        await active.all_moved.wait()
        if active.error is not None:
            raise active.error
        result = await transfer.finish()
        scheduler.open_transfers.release((self, number))  # the transfer is no longer open in the archive
        return result

    def spawn_workers(self, free: int) -> None:
        wanted = 0
        for active in self._active.values():
            wanted += len(active.parts) - active.dispatched
            if wanted >= free:
                break
        for _ in range(min(wanted, free)):
            self._scheduler.workers += 1
            self.nursery.start_soon(self._work)

    async def _work(self) -> None:
        scheduler = self._scheduler
        try:
            while scheduler.workers <= scheduler.limit.limit:
                for number in sorted(self._active):
                    active = self._active[number]
                    if part := active.next_part():
                        await self._move(active, part)
                        break
                else:
                    break
        finally:
            scheduler.workers -= 1
        scheduler.spawn_workers()  # another batch may wait for this worker

    async def _move(self, active: ActiveTransfer[T], part: Part) -> None:
        scheduler, pool = self._scheduler, self._scheduler.pool
        active.moving += 1
        try:
            with trio.CancelScope() as scope:
                active.scopes.add(scope)
                buffer = await pool.acquire(part.size)
                scheduler.moving += 1
                scheduler.buffered += part.size
                try:
                    move = _PartMove(scheduler, active.transfer, part, buffer.view)
                    await scheduler.retrier.run(move.try_once, notify=move.failed, made_progress=move.made_progress)
                finally:
                    scheduler.moving -= 1
                    scheduler.buffered -= part.size
                    pool.release(buffer)
        except* Exception as failed:
            active.fail(as_connector_error(failed))
        finally:
            active.scopes.discard(scope)
            active.moving -= 1
            active.check_done()
