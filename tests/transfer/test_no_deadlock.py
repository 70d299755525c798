"""Parts that hold memory wait for parts before them: whatever the sizes, budgets and failures, it comes to an end."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from connector.errors import NO_RETRY, RENEW, RETRY, BrokenError
from connector.parts import Part
from connector.transfer import BufferPool, OverloadedError, Progress, Sequencer
from tests.support.scripted_transfers import Scripted, make_scheduler, parts_of

GRAIN = 64 * 1024


def run_virtually(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(1e7):  # of virtual time: stuck for ever
            await main()

    trio.run(limited, clock=MockClock(autojump_threshold=0))


def in_turn(rng: random.Random, failures: float) -> Callable[..., Awaitable[None]]:
    turns: dict[str, Sequencer] = {}

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        mine = turns.setdefault(transfer.label, Sequencer())

        def perhaps_fail() -> None:
            if rng.random() < failures:
                advice = rng.choice([RETRY, RETRY, RENEW, NO_RETRY])
                raise rng.choice([BrokenError, OverloadedError])("Fails.", advice=advice)

        await trio.sleep(rng.choice([0, 0, 0.5, 3]))
        perhaps_fail()
        if not mine.is_done(part.number):
            async with mine.in_order(part.number):
                await trio.sleep(rng.choice([0, 0.1]))
                perhaps_fail()
        await trio.sleep(rng.choice([0, 0, 2]))
        perhaps_fail()

    return move


@given(
    sizes=st.lists(st.lists(st.integers(1, 4 * GRAIN), max_size=8), min_size=1, max_size=5),
    budget=st.integers(4 * GRAIN, 9 * GRAIN),
    limit=st.integers(1, 9),
    window=st.integers(1, 4),
    failures=st.sampled_from([0.0, 0.0, 0.1, 0.4]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=100, deadline=None)
def test_parts_that_wait_for_earlier_parts_under_a_tiny_budget(
    sizes: list[list[int]], budget: int, limit: int, window: int, failures: float, seed: int
) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        pool = BufferPool(budget)
        move = in_turn(rng, failures)
        transfers = [Scripted(str(n), parts_of(*row), on_move=move) for n, row in enumerate(sizes)]
        outcomes = await make_scheduler(limit, window=window, pool=pool, attempts=6).run(transfers)
        for outcome, transfer in zip(outcomes, transfers, strict=True):
            assert transfer.closes == 1
            assert outcome.ok or failures
            if outcome.ok:
                assert sorted(transfer.moved) == [part.number for part in transfer.parts]
        pool.close()
        assert pool.allocated == 0

    run_virtually(main)


@given(
    batches=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=2, max_size=3),
    limit=st.integers(1, 4),
    budget=st.integers(1, 4),
    cancelled=st.none() | st.floats(0, 20),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_batches_beside_each_other_one_of_them_cancelled(
    batches: list[list[int]], limit: int, budget: int, cancelled: float | None, seed: int
) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        pool = BufferPool(budget * GRAIN)
        scheduler = make_scheduler(limit, window=2, pool=pool)
        doomed = trio.CancelScope(deadline=float("inf") if cancelled is None else trio.current_time() + cancelled)
        done: list[int] = []

        async def run(number: int, counts: list[int]) -> None:
            move = in_turn(rng, 0.1)
            transfers = [
                Scripted(f"{number}.{n}", parts_of(*[GRAIN] * count), on_move=move) for n, count in enumerate(counts)
            ]
            with doomed if number == 0 else trio.CancelScope():
                await scheduler.run(transfers)
                assert all(transfer.closes == 1 for transfer in transfers)
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number, counts in enumerate(batches):
                nursery.start_soon(run, number, counts)
        assert sorted(done) == list(range(len(batches)))
        assert (scheduler.workers, scheduler.moving) == (0, 0)
        pool.close()
        assert pool.allocated == 0

    run_virtually(main)
