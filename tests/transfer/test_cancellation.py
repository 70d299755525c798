"""Nothing outlives its nursery: one test for each phase in which a transfer can be cancelled."""

from __future__ import annotations

import threading

import pytest
import trio

from connector.errors import RETRY, BrokenError, LocalError, RetryPolicy
from connector.parts import Part
from connector.transfer import BufferPool, Progress, Scheduler
from tests.support.scripted_transfers import Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio

GRAIN = 64 * 1024


async def stuck(*_: object) -> None:
    await trio.sleep_forever()


async def never_at_first_try(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
    raise BrokenError("Cut.", advice=RetryPolicy(again=True, after=500.0))


async def slow_to_let_go(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
            buffer[0] = 1  # still ours


PHASES = {
    "open": Scripted("open", parts_of(1), on_open=stuck),
    "move": Scripted("move", parts_of(1, 1, 1), on_move=stuck),
    "waiting for memory": Scripted("memory", parts_of(*[2 * GRAIN] * 4), on_move=stuck),
    "waiting to try again": Scripted("retry", parts_of(1), on_move=never_at_first_try),
    "letting go of a part": Scripted("slow", parts_of(1, 1), on_move=slow_to_let_go),
    "finish": Scripted("finish", parts_of(1), on_finish=stuck),
    "no parts": Scripted("nothing", [], on_finish=stuck),
}


async def assert_all_is_left_clean(scheduler: Scheduler, pool: BufferPool, budget: int) -> None:
    assert (scheduler.workers, scheduler.moving) == (0, 0)
    with trio.fail_after(10):
        pool.release(await pool.acquire(budget))  # all memory came back
        after = [Scripted(str(n), parts_of(1, GRAIN)) for n in range(5)]
        assert labels(await scheduler.run(after)) == list("01234")
    pool.close()
    assert pool.allocated == 0


@pytest.mark.parametrize("phase", PHASES)
async def test_cancelled_in_any_phase_it_is_closed_and_leaves_nothing(autojump_clock: object, phase: str) -> None:
    budget = 5 * GRAIN
    pool = BufferPool(budget)
    scheduler = make_scheduler(4, pool=pool)
    tasks = trio.lowlevel.current_statistics().tasks_living
    transfer = PHASES[phase]
    transfer.log.clear()
    with trio.move_on_after(20) as scope:
        await scheduler.run([transfer])
    assert scope.cancelled_caught
    assert (transfer.closes, transfer.moving) == (1, 0)
    assert transfer.log[-1][2] == "close"
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    await assert_all_is_left_clean(scheduler, pool, budget)


async def test_cancelled_in_all_phases_at_once(autojump_clock: object) -> None:
    budget = 64 * GRAIN
    pool = BufferPool(budget)
    scheduler = make_scheduler(16, pool=pool, window=5)
    transfers = [
        Scripted("opening", parts_of(1), on_open=stuck),
        Scripted("done", parts_of(1)),
        Scripted("moving", parts_of(1, 1, 1), on_move=stuck),
        Scripted("slow", parts_of(1), on_move=slow_to_let_go),
        Scripted("finishing", parts_of(1), on_finish=stuck),
        Scripted("opening too", parts_of(1), on_open=stuck),
        Scripted("never begun", parts_of(1)),
    ]
    with trio.move_on_after(20):
        await scheduler.run(transfers)
    assert [transfer.closes for transfer in transfers] == [1, 1, 1, 1, 1, 1, 0]
    await assert_all_is_left_clean(scheduler, pool, budget)


async def test_closing_is_not_cancelled_itself(autojump_clock: object) -> None:
    closed = []

    async def close_slowly(transfer: Scripted) -> None:
        await trio.sleep(5)
        closed.append(trio.current_time())

    one = Scripted("a", parts_of(1), on_move=stuck, on_close=close_slowly)
    with trio.move_on_after(20):
        await make_scheduler().run([one])
    assert closed == [25.0]


async def test_a_failing_close_does_not_stop_the_cancellation(autojump_clock: object) -> None:
    async def fail(transfer: Scripted) -> None:
        raise LocalError("Disk full.")

    transfers = [Scripted(name, parts_of(1), on_move=stuck, on_close=fail) for name in "ab"]
    with trio.move_on_after(20) as scope:
        await make_scheduler().run(transfers)
    assert scope.cancelled_caught
    assert [transfer.closes for transfer in transfers] == [1, 1]


async def test_a_transfer_is_closed_only_when_its_threads_are_done() -> None:
    """What a worker thread still writes to must not be closed (and its number given to another file) under it."""
    running, release = threading.Event(), threading.Event()
    writing = False

    def write() -> None:
        nonlocal writing
        writing = True
        running.set()
        release.wait(5)
        writing = False

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.to_thread.run_sync(write)

    async def close(transfer: Scripted) -> None:
        assert not writing

    one = Scripted("a", parts_of(1), on_move=move, on_close=close)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_scheduler().run, [one])
        await trio.to_thread.run_sync(running.wait)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
            assert one.closes == 0
            release.set()
    assert one.closes == 1


async def test_a_failed_transfer_lets_go_before_it_is_closed(autojump_clock: object) -> None:
    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        if part.number == 2:
            raise BrokenError("Gone.")
        await slow_to_let_go(transfer, part, buffer, progress)

    one = Scripted("a", parts_of(1, 1), on_move=move)
    (outcome,) = await make_scheduler().run([one])
    assert not outcome.ok
    assert [at for at, _, what in one.log if what == "close"] == [3.0]


async def test_a_try_again_of_a_cancelled_part_is_not_made(autojump_clock: object) -> None:
    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        if part.number == 2:
            await trio.sleep(1)
            raise BrokenError("Gone for good.")
        raise BrokenError("Cut.", advice=RETRY)

    one = Scripted("a", parts_of(1, 1), on_move=move)
    await make_scheduler().run([one])
    assert trio.current_time() == 1.0
