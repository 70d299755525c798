"""Workers: take jobs, do their work, and keep their leases for as long as that takes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from connector.archive.jobs import Change, JobQueue, LostLease, Next
from connector.archive.models import Job, JobKind
from connector.transfer.reporting import as_connector_error, is_bug, iter_leaf_errors
from persistence.errors import PersistenceError

_log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Jobs of each kind that one worker does at once."""
_SHORTEST_WAIT, _LONGEST_WAIT = 0.2, 2.0
"""Seconds until a worker with nothing to do looks for jobs again."""
_WAIT_SHARE = 0.05
"""That wait's share of the time since there was something to do: where work comes often it is done at once."""
_PAUSE_AFTER_FAILURE = 2.0
_RENEWALS = 3
"""Times that a lease is renewed before it would end."""
_GRACE = 5.0
"""Seconds that one call for taking jobs, or for giving them back when the worker is stopped, may take."""


@attrs.define(eq=False)
class Lease:
    """A job that this worker has; its work writes documents through this."""

    _queue: JobQueue
    job: Job
    is_over: bool = False

    async def write(self, change: Change) -> None:
        """Write documents if the job is still this worker's; `LostLease`."""
        await self._queue.commit(self.job, change, Next(self.job.kind))

    async def commit(self, change: Change | None = None, *, then: Next | None = None) -> None:
        """Write documents, and say what is to be done next; nothing by default. `LostLease`."""
        job = await self._queue.commit(self.job, change, then)
        if job is None:
            self.is_over = True
        else:
            self.job = job


Work = Callable[[Lease], Awaitable[None]]
"""Does one step of a job and commits."""


def worker_name() -> str:
    """A name that tells where a worker runs, and is no other one's."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


def wait_when_idle(idle: float) -> float:
    """How long a worker waits before it looks for jobs again that has found none for `idle` seconds."""
    return min(max(_WAIT_SHARE * idle, _SHORTEST_WAIT), _LONGEST_WAIT)


@attrs.define(eq=False)
class Worker:
    """Does jobs until it is cancelled; those in progress are given back then.

    Args:
        queue: The jobs.
        works: The work of each kind that this worker does.
    """

    _queue: JobQueue
    _works: Mapping[JobKind, Work]
    name: str = attrs.field(factory=worker_name)
    _free: dict[JobKind, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with nothing in progress."""
        self._free = dict.fromkeys(self._works, _AT_ONCE)

    async def run(self) -> None:
        """Take jobs and do them, until cancelled. A database that cannot be reached is waited for."""
        last_found = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                jobs: list[Job] = []
                pause = 0.0
                # Only from here on is there certainly as much time as the lease has by the database's clock.
                asked = trio.current_time()
                try:
                    # Not cancelled between the claim and its answer: what was taken then could not be given back.
                    with trio.move_on_after(_GRACE, shield=True):
                        async for job in self._queue.claim(self._free, worker=self.name):
                            jobs.append(job)
                except Exception as error:
                    if is_bug(error):
                        raise
                    _log.error("No jobs can be taken: %s", error)
                    pause = _PAUSE_AFTER_FAILURE
                for job in jobs:
                    self._free[job.kind] -= 1
                    nursery.start_soon(self._do, job, asked + self._queue.lease)
                if jobs:
                    last_found = trio.current_time()
                else:
                    pause = pause or wait_when_idle(trio.current_time() - last_found)
                await trio.sleep(pause)

    async def _do(self, job: Job, deadline: float) -> None:
        lease, ended = Lease(self._queue, job), False
        try:
            try:
                with trio.CancelScope(deadline=deadline) as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._renew, lease, scope)
                        while not lease.is_over and lease.job.kind in self._works:
                            await self._works[lease.job.kind](lease)
                        nursery.cancel_scope.cancel()
                if scope.cancelled_caught:
                    _log.info("The job %s (%s) is no longer this worker's.", job.id, lease.job.kind)
                ended = lease.is_over or scope.cancelled_caught
            except* Exception as failure:
                await self._failed(lease.job, next(iter_leaf_errors(failure)))
                ended = True  # not if the worker was stopped before that was recorded
        finally:
            self._free[job.kind] += 1
            if not ended:
                with trio.move_on_after(_GRACE, shield=True):
                    await self._give_back(lease.job)

    async def _renew(self, lease: Lease, scope: trio.CancelScope) -> None:
        """Extend the lease, whose end by this machine's clock is the deadline of `scope`."""
        pause = self._queue.lease / _RENEWALS
        while True:
            await trio.sleep(pause)
            asked = trio.current_time()
            try:
                if not await self._queue.extend(lease.job):
                    if not lease.is_over:
                        scope.cancel()
                    return
            except Exception as error:
                if is_bug(error):
                    raise
                _log.error("The lease of the job %s could not be extended: %s", lease.job.id, error)
            else:
                scope.deadline = asked + self._queue.lease

    async def _failed(self, job: Job, error: Exception) -> None:
        if isinstance(error, LostLease):  # also where a file was deleted meanwhile
            _log.info("%s", error)
            return
        known = not is_bug(error)
        reason = str(error if isinstance(error, PersistenceError) else as_connector_error(error))
        _log.error("The job %s (%s) failed: %s", job.id, job.kind, reason, exc_info=None if known else error)
        try:
            failed = await self._queue.fail(job, reason)
            if failed is not None and failed.is_set_aside:
                _log.error("The job %s (%s) is set aside.", job.id, job.kind)
        except Exception as failure:
            if is_bug(failure):
                raise
            _log.error("That could not be recorded: %s", failure)

    async def _give_back(self, job: Job) -> None:
        try:
            await self._queue.give_back(job)
        except Exception as error:
            if is_bug(error):
                raise
            _log.error("The job %s could not be given back: %s", job.id, error)
