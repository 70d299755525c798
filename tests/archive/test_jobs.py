"""The queue of jobs and its workers: each job is one worker's at a time, and none is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import trio

from connector.archive.database import Database
from connector.archive.jobs import (
    JobQueue,
    LostLease,
    Next,
    find_job,
    most_attempts,
    new_job,
    schedule,
    wait_after,
)
from connector.archive.models import Job, JobKind
from connector.archive.worker import Lease, Work, Worker
from persistence.errors import Unreachable
from tests.support.memory_archive import ManualClock, memory_archive

pytestmark = pytest.mark.trio

LEASE = 30.0


@asynccontextmanager
async def queue_of(*subjects: str, kind: JobKind = "clean") -> AsyncIterator[tuple[JobQueue, Database]]:
    """A queue in memory, in which these are due; the database's time is trio's."""
    async with memory_archive(ManualClock(), job_lease=LEASE) as archive:
        for subject in subjects:
            await put(archive.database, subject, kind)
        yield archive.jobs, archive.database


async def put(database: Database, subject: str, kind: JobKind = "clean") -> None:
    await schedule(database, subject, kind, hub="hub", now=await database.factory.now())


async def take(queue: JobQueue, worker: str = "w", kind: JobKind = "clean", count: int = 10) -> list[Job]:
    return [job async for job in queue.claim({kind: count}, worker=worker)]


def worker_of(queue: JobQueue, work: Work, *kinds: JobKind) -> Worker:
    return Worker(queue, dict.fromkeys(kinds or ("clean",), work))


async def done(lease: Lease) -> None:
    await lease.commit()


@pytest.mark.parametrize(("kind", "seconds"), [("interrogate", 600), ("stage", 30)])
async def test_waits_grow_to_a_bound_and_last_long_enough_for_an_outage(kind: JobKind, seconds: int) -> None:
    waits = [wait_after(kind, attempts) for attempts in range(1, most_attempts(kind))]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(seconds=5), timedelta(seconds=seconds))
    assert timedelta(minutes=50) < sum(waits, timedelta()) < timedelta(minutes=51)


async def test_a_job_is_one_workers_until_its_lease_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with queue_of("one") as (queue, _):
        (first,) = await take(queue)
        assert await take(queue, "other") == []
        await trio.sleep(LEASE - 1)
        assert await take(queue, "other") == []
        await trio.sleep(1)
        (second,) = await take(queue, "other")
        assert second.token > first.token
        assert (second.attempts, second.worker) == (1, "other")
        assert not await queue.extend(first)
        with pytest.raises(LostLease):
            await queue.commit(first, None, None)
        assert await queue.fail(first, "late") is None
        assert await queue.extend(second)


async def test_many_workers_share_the_jobs_without_doing_one_twice() -> None:
    async with queue_of(*(f"job-{number}" for number in range(40))) as (queue, _):
        taken: list[str] = []

        async def claim(worker: str) -> None:
            while jobs := await take(queue, worker, count=3):
                assert len(jobs) <= 3
                taken.extend(job.id for job in jobs)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(claim, f"worker-{number}")
        assert sorted(taken) == sorted({f"job-{number}" for number in range(40)})


async def test_jobs_that_were_taken_before_the_database_went_away_are_done() -> None:
    class Away(JobQueue):
        """The queue of a database that goes away once two jobs are taken."""

        async def claim(self, *arguments: Any, **options: Any) -> AsyncIterator[Job]:
            taken = 0
            async for job in super().claim(*arguments, **options):
                yield job
                taken += 1
                if taken == 2:
                    raise Unreachable("No database.")

    ended: list[str] = []

    async def work(lease: Lease) -> None:
        ended.append(lease.job.id)
        await lease.commit()

    async with queue_of("one", "two", "three") as (_, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(Away(database, LEASE), work).run)
        with trio.fail_after(180):
            while len(ended) < 2:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
        assert len(set(ended)) == 2


async def test_a_job_whose_workers_die_each_time_is_set_aside(autojump_clock: trio.testing.MockClock) -> None:
    async with queue_of("one") as (queue, database):
        for _ in range(most_attempts("clean")):
            assert len(await take(queue)) == 1
            await trio.sleep(LEASE)
        assert await take(queue) == []
        job = await find_job(database, "one")
        assert job is not None
        assert (job.is_set_aside, job.worker, "died" in (job.reason or "")) == (True, None, True)
        assert await queue.retry(["two"]) == []
        assert await queue.retry() == ["one"]
        assert len(await take(queue)) == 1


async def test_a_job_that_waits_after_a_failure_is_tried_again_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As after an outage of the storage; what is done at its time, or just now, is left alone."""
    async with queue_of("failed", "running") as (queue, database):
        failed, running = await take(queue)
        await queue.fail(failed, "No storage.")
        later = await database.factory.now() + timedelta(hours=1)
        await database.jobs.insert(new_job("later", "clean", hub="hub", now=later, due=later))
        assert await take(queue, "other") == []
        assert await queue.retry(["running", "later"]) == []
        assert await queue.retry() == ["failed"]
        (again,) = await take(queue, "other")
        assert (again.id, again.attempts) == ("failed", 0)
        assert await queue.extend(running)


async def test_what_is_called_for_takes_a_job_from_its_worker(autojump_clock: trio.testing.MockClock) -> None:
    """The new one waits until the old worker has certainly stopped."""
    async with queue_of("one", kind="interrogate") as (queue, database):
        (first,) = await take(queue, kind="interrogate")
        await put(database, "one", "clean")
        with pytest.raises(LostLease):
            await queue.commit(first, None, Next("register"))
        assert await take(queue) == []
        await trio.sleep(LEASE)
        (second,) = await take(queue)
        assert (second.kind, second.attempts) == ("clean", 0)
        assert first.attempt_id in second.earlier_attempt_ids
        assert second.attempt_id not in second.earlier_attempt_ids


async def test_tokens_of_a_file_never_recur(autojump_clock: trio.testing.MockClock) -> None:
    async with queue_of("one") as (queue, database):
        (first,) = await take(queue)
        await queue.commit(first, None, None)
        await trio.sleep(1)
        await put(database, "one")
        (second,) = await take(queue)
        assert second.token > first.token


async def test_nothing_is_written_with_a_change_that_fails() -> None:
    async with queue_of("one") as (queue, database):
        (job,) = await take(queue)

        async def change(bound: Database) -> None:
            await bound.jobs.insert(new_job("two", "clean", hub="hub", now=job.created, due=job.created))
            raise Unreachable("No.")

        with pytest.raises(Unreachable):
            await queue.commit(job, change, None)
        assert await find_job(database, "two") is None
        assert await find_job(database, "one") == job


async def test_a_worker_keeps_its_lease_as_long_as_the_work_takes(autojump_clock: trio.testing.MockClock) -> None:
    runs = 0

    async def slow(lease: Lease) -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(10 * LEASE)
        await lease.commit()

    async with queue_of("one") as (queue, database), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(worker_of(queue, slow).run)
        await trio.sleep(11 * LEASE)
        assert runs == 1
        assert await find_job(database, "one") is None
        nursery.cancel_scope.cancel()


async def test_a_worker_that_cannot_extend_its_lease_stops_in_time(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[float] = []

    async def endless(lease: Lease) -> None:
        began = trio.current_time()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - began)

    class Deaf(JobQueue):
        async def extend(self, job: Job) -> bool:
            raise Unreachable("No database.")

    async with queue_of("one") as (_, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(Deaf(database, LEASE), endless).run)
        await trio.sleep(LEASE + 0.1)
        assert len(ended) == 1
        assert ended[0] <= LEASE
        nursery.cancel_scope.cancel()


async def test_a_worker_whose_job_is_called_off_stops_at_the_next_renewal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ended = trio.Event()

    async def endless(lease: Lease) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with queue_of("one", kind="interrogate") as (queue, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(queue, endless, "interrogate").run)
        await trio.sleep(1)
        await put(database, "one", "clean")
        with trio.fail_after(LEASE / 3 + 1):
            await ended.wait()
        nursery.cancel_scope.cancel()


async def test_a_worker_that_is_stopped_gives_its_jobs_back_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async def endless(lease: Lease) -> None:
        await trio.sleep_forever()

    async with queue_of("one") as (queue, _):
        with trio.move_on_after(1):
            await worker_of(queue, endless).run()
        (again,) = await take(queue, "other")
        assert again.attempts == 0


async def test_failures_are_repeated_later_and_bugs_too(autojump_clock: trio.testing.MockClock) -> None:
    tries: list[float] = []
    errors: list[Exception] = [Unreachable("No storage."), ValueError("a bug")]

    async def work(lease: Lease) -> None:
        tries.append(trio.current_time())
        if errors:
            raise errors.pop(0)
        await lease.commit()

    async with queue_of("one") as (queue, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(queue, work).run)
        await trio.sleep(1)
        job = await find_job(database, "one")
        assert job is not None
        assert (job.attempts, job.reason, job.worker) == (1, "No storage.", None)
        await trio.sleep(60)
        assert await find_job(database, "one") is None
        nursery.cancel_scope.cancel()
    assert [round(after - before) for before, after in pairwise(tries)] == [5, 10]


async def test_a_worker_outlives_a_database_that_is_away(autojump_clock: trio.testing.MockClock) -> None:
    class Away(JobQueue):
        until = 0.0

        async def claim(self, *arguments: Any, **options: Any) -> AsyncIterator[Job]:
            if trio.current_time() < Away.until:
                raise Unreachable("No database.")
            async for job in super().claim(*arguments, **options):
                yield job

    async with queue_of("one") as (_, database), trio.open_nursery() as nursery:
        Away.until = trio.current_time() + 300
        nursery.start_soon(worker_of(Away(database, LEASE), done).run)
        await trio.sleep(299)
        assert await find_job(database, "one") is not None
        await trio.sleep(10)
        assert await find_job(database, "one") is None
        nursery.cancel_scope.cancel()


async def test_an_idle_worker_asks_seldom_and_a_busy_one_often(autojump_clock: trio.testing.MockClock) -> None:
    asked: list[float] = []

    class Counted(JobQueue):
        async def claim(self, *arguments: Any, **options: Any) -> AsyncIterator[Job]:
            asked.append(trio.current_time())
            async for job in super().claim(*arguments, **options):
                yield job

    async with queue_of() as (_, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(Counted(database, LEASE), done).run)
        await trio.sleep(1000)
        assert 500 <= len(asked) <= 560
        await put(database, "one")
        await trio.sleep(2.01)
        assert await find_job(database, "one") is None
        await trio.sleep(0.5)
        await put(database, "two")
        await trio.sleep(0.21)
        assert await find_job(database, "two") is None
        nursery.cancel_scope.cancel()


async def test_the_next_step_follows_at_once_or_at_its_time(autojump_clock: trio.testing.MockClock) -> None:
    steps: list[tuple[str, float]] = []

    async with queue_of("one", kind="stage") as (queue, database), trio.open_nursery() as nursery:
        start = trio.current_time()

        async def work(lease: Lease) -> None:
            steps.append((lease.job.kind, trio.current_time() - start))
            due = await database.factory.now() + timedelta(seconds=100)
            following: dict[str, Next | None] = {"stage": Next("clean"), "clean": Next("unstage", due), "unstage": None}
            await lease.commit(then=following[lease.job.kind])

        nursery.start_soon(worker_of(queue, work, "stage", "clean", "unstage").run)
        await trio.sleep(200)
        nursery.cancel_scope.cancel()
    assert [kind for kind, _ in steps] == ["stage", "clean", "unstage"]
    assert steps[1][1] == steps[0][1]
    assert 100 <= steps[2][1] < 102.1


async def test_a_step_of_another_kind_is_left_to_other_workers(autojump_clock: trio.testing.MockClock) -> None:
    async def work(lease: Lease) -> None:
        await lease.commit(then=Next("register"))

    async with queue_of("one", kind="interrogate") as (queue, _), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(queue, work, "interrogate").run)
        await trio.sleep(1)
        (job,) = await take(queue, kind="register")
        assert job.attempts == 0
        nursery.cancel_scope.cancel()


async def test_jobs_of_one_kind_do_not_hold_up_another(autojump_clock: trio.testing.MockClock) -> None:
    async def work(lease: Lease) -> None:
        if lease.job.kind == "interrogate":
            await trio.sleep(1000)
        await lease.commit()

    subjects = [f"file-{number}" for number in range(20)]
    async with queue_of(*subjects, kind="interrogate") as (queue, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(queue, work, "interrogate", "clean").run)
        await trio.sleep(1)
        await put(database, "other")
        await trio.sleep(1)
        assert await find_job(database, "other") is None
        assert sum(job.worker is not None for job in await queue.find_all()) == 4
        nursery.cancel_scope.cancel()


async def test_who_can_do_nothing_more_asks_for_nothing() -> None:
    async with queue_of("one") as (queue, database):
        assert await take(queue, count=0) == []
        assert [job async for job in queue.claim({}, worker="w")] == []
        job = await find_job(database, "one")
        assert job is not None
        assert job.worker is None


class BrokenQueue(JobQueue):
    """One whose methods raise an error, where there is one for them."""

    errors: ClassVar[dict[str, Exception]] = {}

    async def _raise(self, method: str) -> None:
        if method in self.errors:
            raise self.errors[method]

    async def claim(self, *arguments: Any, **options: Any) -> AsyncIterator[Job]:
        await self._raise("claim")
        async for job in super().claim(*arguments, **options):
            yield job

    async def extend(self, job: Job) -> bool:
        await self._raise("extend")
        return await super().extend(job)

    async def fail(self, job: Job, reason: str) -> Job | None:
        await self._raise("fail")
        return await super().fail(job, reason)

    async def give_back(self, job: Job) -> None:
        await self._raise("give_back")
        await super().give_back(job)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    found: dict[str, Exception] = {}
    monkeypatch.setattr(BrokenQueue, "errors", found)
    return found


async def fail(lease: Lease) -> None:
    raise Unreachable("No storage.")


@pytest.mark.parametrize("method", ["claim", "fail"])
async def test_a_bug_of_the_queue_ends_the_worker(
    errors: dict[str, Exception], method: str, autojump_clock: trio.testing.MockClock
) -> None:
    errors[method] = KeyError("a bug")
    async with queue_of("one") as (_, database):
        with trio.fail_after(1000), pytest.RaisesGroup(KeyError, flatten_subgroups=True):
            await worker_of(BrokenQueue(database, LEASE), fail).run()


async def test_a_failure_that_cannot_be_recorded_is_one_more_try(
    errors: dict[str, Exception], autojump_clock: trio.testing.MockClock
) -> None:
    tries: list[float] = []

    async def work(lease: Lease) -> None:
        tries.append(trio.current_time())
        if len(tries) > 1:
            return await lease.commit()
        await fail(lease)

    errors["fail"] = Unreachable("No database.")
    async with queue_of("one") as (_, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(BrokenQueue(database, LEASE), work).run)
        await trio.sleep(2 * LEASE)
        assert await find_job(database, "one") is None
        nursery.cancel_scope.cancel()
    assert len(tries) == 2
    assert tries[1] - tries[0] >= LEASE, "nothing else says that the first has failed"


async def test_a_bug_while_a_lease_is_extended_is_recorded_with_the_job(
    errors: dict[str, Exception], autojump_clock: trio.testing.MockClock
) -> None:
    async def work(lease: Lease) -> None:
        await trio.sleep(LEASE / 2)
        await lease.commit()

    errors["extend"] = KeyError("a bug")
    async with queue_of("one") as (_, database), trio.open_nursery() as nursery:
        nursery.start_soon(worker_of(BrokenQueue(database, LEASE), work).run)
        await trio.sleep(LEASE / 2 + 1)
        job = await find_job(database, "one")
        assert job is not None
        assert "bug" in (job.reason or "")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [Unreachable("No database."), KeyError("a bug")])
async def test_a_job_that_cannot_be_given_back_is_free_when_its_lease_ends(
    errors: dict[str, Exception], error: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    async def work(lease: Lease) -> None:
        await trio.sleep_forever()

    errors["give_back"] = error
    async with queue_of("one") as (queue, database):
        told: list[BaseException] = []
        try:
            with trio.move_on_after(5):
                await worker_of(BrokenQueue(database, LEASE), work).run()
        except BaseExceptionGroup as group:
            told += group.exceptions
        assert bool(told) is isinstance(error, KeyError), "a bug is not hidden"
        assert await take(queue) == []
        await trio.sleep(LEASE)
        assert [job.id for job in await take(queue)] == ["one"]


async def test_a_job_that_was_taken_while_the_clock_was_ahead_is_tried_again_on_demand() -> None:
    """Its worker has died; by the clock that is right again the lease would end in a year only."""
    clock = ManualClock()
    async with memory_archive(clock, job_lease=LEASE) as archive:
        queue, database = archive.jobs, archive.database
        await put(database, "stuck")
        clock.now += 365 * 24 * 3600
        (stuck,) = await take(queue, "dead")
        assert await queue.retry() == []
        clock.now -= 365 * 24 * 3600
        assert await take(queue) == []
        assert await queue.retry() == ["stuck"]
        assert await take(queue) == []  # the worker may be alive, and stops when its lease has ended by its own clock
        clock.now += LEASE
        assert [job.id for job in await take(queue, "alive")] == ["stuck"]
        assert await queue.retry() == []
        with pytest.raises(LostLease):
            await queue.commit(stuck, None, None)
