"""The generic scheduler: moves the parts of many transfers at once within bounds of memory and concurrency."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Generic, TypeVar

import trio

from connector.errors import ConnectorError, UsageError
from connector.parts import Part, fit_memory
from connector.transfer.active import ActiveTransfer, PartMove
from connector.transfer.buffers import BufferPool
from connector.transfer.failure import as_connector_error
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.observer import GuardedObserver, Observer
from connector.transfer.open_transfers import OpenTransferLimiter
from connector.transfer.outcome import Outcome
from connector.transfer.retry import Retrier
from connector.transfer.transfer import NotReadyError, TooManyOpenTransfersError, Transfer

T = TypeVar("T")


class Scheduler:
    """Runs transfers. One instance may run several batches, one after the other or at once, within the same bounds.

    ``pool`` bounds memory, ``limit`` the parts that move at once, ``window`` the transfers that are open at once, of
    which ``first`` ask to be let in before it is known whether the other side takes more (all, if not given). When it
    lets none of them in because of others, that is tried again for ``patience`` seconds.
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
        first: int | None = None,
        patience: float = 3600.0,
    ) -> None:
        self.pool = pool
        self.limit = limit
        self.retrier = retrier
        self.observer = GuardedObserver.of(observer)
        self.window = OpenTransferLimiter(window, first=first, patience=patience)
        self.workers = 0
        self.moving = 0
        self._budget = pool.budget
        self._batches: list[_Batch[Any]] = []
        self._closed = False

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        """Run all transfers and return their outcomes in the given order.

        A transfer that fails is an outcome, not an exception, whatever it failed of; cancelling this call cancels them
        all. Raises :class:`~connector.errors.UsageError` once the scheduler was closed.
        """
        self.check_open()
        batch = _Batch[T](self)
        self._batches.append(batch)
        try:
            outcomes = await batch.run(transfers)
        finally:
            self._batches.remove(batch)
            self.staff()
        self.check_open()
        return outcomes

    def check_open(self) -> None:
        """Raise :class:`~connector.errors.UsageError` if the scheduler was closed."""
        if self._closed:
            raise UsageError(
                "The session has ended, so it transfers nothing any more.",
                hint="Use it inside the block that opened it, or open another one.",
            )

    def finished(self, outcome: Outcome[T]) -> Outcome[T]:
        """Tell the observer of a file that has ended, moved or not, and return what is then its outcome."""
        outcome = self.observer.checked(outcome)
        self.observer.finished(outcome)
        return self.observer.checked(outcome)

    def close(self) -> None:
        """Cancel what still runs, and take nothing any more: its memory and connections are about to go."""
        self._closed = True
        for batch in self._batches:
            batch.cancel()

    def staff(self) -> None:
        """Start as many workers as there are places and parts for them, for the oldest batch first."""
        for batch in self._batches:
            batch.staff(self.limit.limit - self.workers)

    def tell_budget(self, label: str, part_size: int) -> None:
        """Tell the observer if a part of this size takes more memory than the budget, or than it was told of before."""
        before, self._budget = self._budget, fit_memory(self._budget, part_size)
        if self._budget > before:
            self.observer.budget_raised(label, before, self._budget)


class _Batch(Generic[T]):
    """The transfers of one call of :meth:`Scheduler.run`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._open: dict[int, ActiveTransfer[T]] = {}
        self._outcomes: dict[int, Outcome[T]] = {}
        self._nursery: trio.Nursery

    async def run(self, transfers: Iterable[Transfer[T]]) -> list[Outcome[T]]:
        async with trio.open_nursery() as self._nursery:
            for number, transfer in enumerate(transfers):
                await self._scheduler.window.enter((self, number))
                self._nursery.start_soon(self._conduct, number, transfer)
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    def cancel(self) -> None:
        """Cancel all transfers of this batch."""
        self._nursery.cancel_scope.cancel()

    # One transfer, from its opening to its outcome ------------------------------------------------------------------

    async def _conduct(self, number: int, transfer: Transfer[T]) -> None:
        observer = self._scheduler.observer
        restarts: set[str] = set()
        try:
            outcome = await self._attempt(number, transfer)
            while outcome.error is not None:
                cause = outcome.error.advice.restart
                if isinstance(outcome.error, NotReadyError):
                    observer.waiting(transfer.label, outcome.error.seconds, outcome.error.message)
                    await self._scheduler.window.step_aside((self, number), outcome.error.seconds)
                elif cause and cause not in restarts:
                    restarts.add(cause)
                    observer.retried(transfer.label, outcome.error, 0.0)
                else:
                    break
                outcome = await self._attempt(number, transfer)
        finally:
            self._scheduler.window.leave((self, number))
        self._outcomes[number] = self._scheduler.finished(outcome)

    async def _attempt(self, number: int, transfer: Transfer[T]) -> Outcome[T]:
        outcome = Outcome[T](transfer.label)
        try:
            outcome = Outcome(transfer.label, value=await self._carry(number, transfer))
        except* Exception as failed:  # of a group with a cancellation the rest goes on its way
            outcome = Outcome(transfer.label, error=as_connector_error(failed))
        finally:
            failure = await self._close(number, transfer)
        if failure is not None and outcome.ok:
            outcome = Outcome(transfer.label, error=failure)
        return outcome

    def _say_turned_away(self, label: str, error: TooManyOpenTransfersError, delay: float) -> None:
        self._scheduler.observer.waiting(label, delay, f"{error.message} {error.hint}".rstrip())

    async def _carry(self, number: int, transfer: Transfer[T]) -> T:
        scheduler, label = self._scheduler, transfer.label
        retry_notice = partial(scheduler.observer.retried, label)
        await scheduler.retrier.run(transfer.prepare, notify=retry_notice)
        parts = await scheduler.window.ask(
            (self, number),
            lambda: scheduler.retrier.run(transfer.open, notify=retry_notice),
            turned_away=partial(self._say_turned_away, label),
        )
        scheduler.tell_budget(label, parts[0].size if parts else 0)  # no part is larger than the first
        entry = ActiveTransfer(transfer, parts)
        self._open[number] = entry
        entry.check_done()
        scheduler.staff()
        await entry.all_moved.wait()
        if entry.error is not None:
            raise entry.error
        result = await transfer.finish()
        scheduler.window.give_back((self, number))  # what is left to do is no business of the other side
        return result

    async def _close(self, number: int, transfer: Transfer[T]) -> ConnectorError | None:
        entry = self._open.pop(number, None)
        failure: ConnectorError | None = None
        with trio.CancelScope(shield=True):
            if entry is not None:
                await entry.stop()  # when all is cancelled, its parts may still be on their way out
            try:
                await transfer.close()
            except* Exception as failed:
                failure = as_connector_error(failed)
        return failure

    # Parts ----------------------------------------------------------------------------------------------------------

    def staff(self, places: int) -> None:
        """Start up to ``places`` more workers, but no more than there are parts to take."""
        wanted = 0
        for entry in self._open.values():
            wanted += len(entry.parts) - entry.dispatched
            if wanted >= places:
                break
        for _ in range(min(wanted, places)):
            self._scheduler.workers += 1
            self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        scheduler = self._scheduler
        try:
            while scheduler.workers <= scheduler.limit.limit:
                taken = self._take()
                if taken is None:
                    break
                await self._move(*taken)
        finally:
            scheduler.workers -= 1
        scheduler.staff()  # another batch may wait for this place

    def _take(self) -> tuple[ActiveTransfer[T], Part] | None:
        for number in sorted(self._open) if len(self._open) > 1 else self._open:
            entry = self._open[number]
            part = entry.next_part()
            if part is not None:
                entry.moving += 1
                return entry, part
        return None

    async def _move(self, entry: ActiveTransfer[T], part: Part) -> None:
        scheduler, pool = self._scheduler, self._scheduler.pool
        try:
            with trio.CancelScope() as scope:
                entry.scopes.add(scope)
                buffer = await pool.acquire(part.size)
                scheduler.moving += 1
                try:
                    await PartMove(scheduler, entry, part, buffer.view).run()
                finally:
                    scheduler.moving -= 1
                    pool.release(buffer)
        except* Exception as failed:
            entry.fail(as_connector_error(failed))
        finally:
            entry.scopes.discard(scope)
            entry.moving -= 1
            entry.check_done()
