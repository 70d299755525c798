"""Jobs: documents that say what is to be done next about a file, written together with the change that calls for it.

A worker takes a job by compare-and-set, by the database's clock alone, for the time of a lease. Everything it writes is
written in a transaction that also checks the job's fencing token, so that a worker whose lease has ended changes
nothing any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import attrs

from connector.archive.database import Database
from connector.archive.models import FileUpload, Job, JobKind
from connector.errors import LocalError
from persistence.errors import NotFound

_FIRST_WAIT = timedelta(seconds=5)
_PATIENCE = (12, timedelta(minutes=10))
_PATIENCE_OF_USERS: Mapping[JobKind, tuple[int, timedelta]] = {"stage": (104, timedelta(seconds=30))}
"""How often a job is tried, and the longest wait between two tries: 50 minutes in all. Somebody waits for a staged
copy, and gets it soon after a storage is back that was away."""
STORAGE_DELAY = timedelta(minutes=1)
"""For which a storage may be starting or completing an upload, also after the process that called for that has given it
up or died."""
_MARGIN = timedelta(minutes=1)
"""By which a lease may end later than one that begins now, if the database's clock was not ahead when it began."""
_DIED = "The worker that had this job has died, or could not reach the database."

Change = Callable[[Database], Awaitable[object]]
"""Writes documents in the transaction that it is given; may be repeated."""


class LostLease(LocalError):
    """The job is no longer this worker's: its lease has ended, or what was to be done is no longer wanted."""


@attrs.frozen
class Next:
    """What is to be done next about the same file: by the same worker at once, or by any worker from `due` on."""

    kind: JobKind
    due: datetime | None = None


def most_attempts(kind: JobKind) -> int:
    """The number of the failure after which a job of this kind is set aside."""
    return _PATIENCE_OF_USERS.get(kind, _PATIENCE)[0]


def wait_after(kind: JobKind, attempts: int) -> timedelta:
    """How long to wait after so many failures (1 or more) of such a job: twice as long each time, up to a bound."""
    return min(_FIRST_WAIT * int(2 ** min(attempts - 1, 20)), _PATIENCE_OF_USERS.get(kind, _PATIENCE)[1])


async def schedule(database: Database, subject: str, kind: JobKind, *, hub: str, now: datetime) -> None:
    """Let `kind` be the next thing to do about a file or box, whatever was to be done before.

    To be called with the collections of the transaction that makes it necessary. A worker that has the job loses it;
    the new one is due when its lease would have ended, by when it has certainly stopped.

    Args:
        database: The collections.
        subject: The id of the upload or box.
        kind: What is to be done.
        hub: The alias of the storage that has its objects.
        now: The database's time, or when it is to be done.
    """
    job = await find_job(database, subject)
    if job is None:
        await database.jobs.insert(new_job(subject, kind, hub=hub, now=now, due=now))
        return
    changes: dict[str, Any] = {"kind": kind, "due": now, "attempts": 0, "worker": None, "reason": None}
    increments = {}
    if job.worker is not None and job.due is not None:
        changes |= {"due": max(now, job.due)}
        increments = {"token": 1}
    await database.jobs.compare_and_set(subject, expected={}, changes=changes, increments=increments)


async def schedule_cleaning(database: Database, upload: FileUpload, now: datetime) -> None:
    """Let the storage of an upload that is taken out now be cleaned: of an open one when nothing can be added any more.

    A serving process has no lease while it completes an upload. If it dies, the object may appear after all the same.
    """
    due = now + STORAGE_DELAY if upload.state == "init" else now
    await schedule(database, upload.id, "clean", hub=upload.storage_alias, now=due)


def new_job(subject: str, kind: JobKind, *, hub: str, now: datetime, due: datetime) -> Job:
    """A job that no worker has had yet."""
    return Job(subject, kind, hub, created=now, due=due, token=int(now.timestamp() * 1000))


def _held(job: Job) -> dict[str, Any]:
    """What is so as long as the worker that took the job has it."""
    return {"token": job.token, "worker": job.worker}


async def find_job(database: Database, subject: str) -> Job | None:
    """The job of a file or box, if there is one."""
    with suppress(NotFound):
        return await database.jobs.get_by_id(subject)
    return None


@attrs.frozen(eq=False)
class JobQueue:
    """Hands out jobs to workers and takes them back.

    Args:
        lease: Seconds for which a worker has a job unless it extends that.
    """

    _database: Database
    lease: float

    async def claim(self, free: Mapping[JobKind, int], *, worker: str) -> AsyncIterator[Job]:
        """Take jobs that are due, the oldest first, and give each as soon as it is taken.

        Args:
            free: How many of each kind the worker can do.
            worker: Its name.
        """
        kinds = [kind for kind, count in free.items() if count > 0]
        if not kinds:
            return
        now = await self._database.factory.now()
        left = dict(free)
        where = {"kind": {"$in": kinds}, "due": {"$lte": now}}
        # Twice as many as are needed: other workers find the same ones.
        found = self._database.jobs.find_all(where, sort=["due"], limit=2 * sum(free.values()))
        for job in [one async for one in found]:
            if left[job.kind] > 0:
                mine = await self._take(job, worker, now)
                if mine is not None and not mine.is_set_aside:
                    left[job.kind] -= 1
                    yield mine

    async def _take(self, job: Job, worker: str, now: datetime) -> Job | None:
        changes: dict[str, Any] = {"worker": worker, "due": now + timedelta(seconds=self.lease)}
        if job.worker is not None:
            changes |= {"attempts": job.attempts + 1, "reason": _DIED}
            if job.attempts + 1 >= most_attempts(job.kind):
                changes |= {"worker": None, "due": None}
        expected = {"token": job.token, "worker": job.worker, "due": {"$lte": now}}
        return await self._change(job, expected, changes, increments={"token": 1})

    async def extend(self, job: Job) -> bool:
        """Extend the lease from now on; tells whether the job is still the worker's."""
        due = await self._database.factory.now() + timedelta(seconds=self.lease)
        return await self._change(job, _held(job), {"due": due}) is not None

    async def give_back(self, job: Job) -> None:
        """Let another worker take the job at once; it has not failed."""
        await self._change(job, _held(job), {"due": await self._database.factory.now(), "worker": None})

    async def fail(self, job: Job, reason: str) -> Job | None:
        """Record a failure: the job is due again after a while, or set aside.

        Returns:
            The job; `None` if it is no longer the worker's.
        """
        attempts = job.attempts + 1
        is_last = attempts >= most_attempts(job.kind)
        due = None if is_last else await self._database.factory.now() + wait_after(job.kind, attempts)
        changes = {"due": due, "worker": None, "attempts": attempts, "reason": reason}
        return await self._change(job, _held(job), changes)

    async def commit(self, job: Job, change: Change | None, then: Next | None) -> Job | None:
        """Write documents in one transaction with the progress of the job.

        Args:
            job: The job, which a worker has.
            change: Writes the documents.
            then: What is to be done next; nothing if `None`.

        Returns:
            The job, if the same worker is to go on with it.

        Raises:
            LostLease: It is no longer the worker's; nothing was written.
        """

        async def write(database: Database) -> Job | None:
            current = await find_job(database, job.id)
            if current is None or (current.token, current.worker) != (job.token, job.worker):
                raise LostLease(f"The job {job.id} ({job.kind}) is no longer this worker's.")
            if change is not None:
                await change(database)
            if then is None:
                await database.jobs.delete(job.id)
                return None
            changes: dict[str, Any] = {"kind": then.kind}
            if then.kind != job.kind:
                changes |= {"attempts": 0, "reason": None}
            if then.due is not None:
                changes |= {"due": then.due, "worker": None}
            changed = await database.jobs.compare_and_set(job.id, expected=_held(job), changes=changes)
            return changed if then.due is None else None

        return await self._database.transact(write)

    async def find_all(self, *, scheduled: bool = True) -> list[Job]:
        """All jobs by their time; without `scheduled` only those that are due, in progress, or have failed."""
        now = await self._database.factory.now()
        present = {"$or": [{"due": None}, {"attempts": {"$gt": 0}}, {"worker": {"$ne": None}}, {"due": {"$lte": now}}]}
        return [job async for job in self._database.jobs.find_all({} if scheduled else present, sort=["due"])]

    async def retry(self, subjects: Iterable[str] | None = None) -> list[str]:
        """Make jobs due at once, these or all, that were set aside or wait after a failure.

        Also, when a lease from now on would have ended, those whose lease ends later: their worker has taken them while
        the database's clock was ahead, and may have died.

        Returns:
            The ids of those that are.
        """
        now = await self._database.factory.now()
        lease = timedelta(seconds=self.lease)
        failed = {"worker": None, "$or": [{"due": None}, {"attempts": {"$gt": 0}}]}
        stuck = {"worker": {"$ne": None}, "due": {"$gt": now + lease + _MARGIN}}
        if subjects is None:
            subjects = [job.id async for job in self._database.jobs.find_all({"$or": [failed, stuck]})]
        retried = []
        for subject in subjects:
            with suppress(NotFound):
                changes: dict[str, Any] = {"due": now, "attempts": 0}
                freed = {"due": now + lease, "attempts": 0, "worker": None}
                if await self._database.jobs.compare_and_set(
                    subject, expected=failed, changes=changes
                ) or await self._database.jobs.compare_and_set(
                    subject, expected=stuck, changes=freed, increments={"token": 1}
                ):
                    retried.append(subject)
        return retried

    async def _change(
        self, job: Job, expected: Mapping[str, Any], changes: Mapping[str, Any], **more: Mapping[str, int]
    ) -> Job | None:
        with suppress(NotFound):
            return await self._database.jobs.compare_and_set(job.id, expected=expected, changes=changes, **more)
        return None
