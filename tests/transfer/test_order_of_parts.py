from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import trio

from connector.parts import Part, Parts
from connector.transfer import Progress
from connector.transfer.limit import ConcurrencyLimit
from tests.support.scripted_transfers import Recorder, Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio


def moves(log: list[tuple[float, str, str]]) -> list[tuple[float, str]]:
    return [(at, label + what.removeprefix("move ")) for at, label, what in log if what.startswith("move ")]


async def test_parts_go_out_in_order_as_many_at_once_as_the_limit(autojump_clock: object) -> None:
    one = Scripted("a", parts_of(10, 10, 10, 10, 5))
    assert labels(await make_scheduler(2).run([one])) == ["a"]
    assert moves(one.log) == [(0.0, "a1"), (0.0, "a2"), (1.0, "a3"), (1.0, "a4"), (2.0, "a5")]
    assert one.most_moving == 2
    assert trio.current_time() == 3.0


async def test_the_oldest_transfer_goes_first_and_younger_ones_fill_the_gaps(autojump_clock: object) -> None:
    log: list[tuple[float, str, str]] = []
    transfers = [Scripted(name, parts_of(1, 1, 1), log=log) for name in "abc"]
    assert labels(await make_scheduler(2).run(transfers)) == ["a", "b", "c"]
    assert moves(log) == [
        (0.0, "a1"),
        (0.0, "a2"),
        (1.0, "a3"),
        (1.0, "b1"),
        (2.0, "b2"),
        (2.0, "b3"),
        (3.0, "c1"),
        (3.0, "c2"),
        (4.0, "c3"),
    ]


async def test_a_transfer_slow_to_open_holds_nobody_up_and_goes_first_afterwards(autojump_clock: object) -> None:
    async def open_slowly(transfer: Scripted) -> None:
        await trio.sleep(1.5)

    log: list[tuple[float, str, str]] = []
    slow = Scripted("a", parts_of(1, 1), on_open=open_slowly, log=log)
    quick = Scripted("b", parts_of(1, 1, 1, 1), log=log)
    await make_scheduler(1).run([slow, quick])
    assert moves(log) == [(0.0, "b1"), (1.0, "b2"), (2.0, "a1"), (3.0, "a2"), (4.0, "b3"), (5.0, "b4")]


async def test_finishing_overlaps_with_the_parts_of_others(autojump_clock: object) -> None:
    async def finish_slowly(transfer: Scripted) -> None:
        await trio.sleep(10)

    transfers = [Scripted(name, parts_of(1), on_finish=finish_slowly) for name in "abcd"]
    await make_scheduler(1).run(transfers)
    assert trio.current_time() == 14.0


async def test_each_transfer_is_opened_moved_finished_and_closed_once(autojump_clock: object) -> None:
    transfers = [Scripted(str(n), parts_of(*[1] * (n % 3))) for n in range(20)]
    recorder = Recorder()
    outcomes = await make_scheduler(3, window=4, observer=recorder).run(transfers)
    assert [outcome.label for outcome in outcomes] == [str(n) for n in range(20)]
    for n, transfer in enumerate(transfers):
        steps = [what.split()[0] for _, _, what in transfer.log]
        assert sorted(transfer.moved) == list(range(1, n % 3 + 1))
        assert (transfer.opens, transfer.closes) == (1, 1)
        assert steps[0] == "open"
        assert steps[-2:] == ["finish", "close"]
    assert [event[1] for event in recorder.events] == ["finished"] * 20
    assert recorder.through == {str(n): n % 3 for n in range(20) if n % 3}


async def test_the_window_bounds_what_is_open_and_takes_no_transfer_before_its_time(autojump_clock: object) -> None:
    open_now: set[str] = set()
    most, made = 0, 0

    async def enter(transfer: Scripted) -> None:
        nonlocal most
        open_now.add(transfer.label)
        most = max(most, len(open_now))
        assert made <= int(transfer.label) + 4

    async def leave(transfer: Scripted) -> None:
        open_now.remove(transfer.label)

    def make() -> Iterator[Scripted]:
        nonlocal made
        for n in range(30):
            made += 1
            assert len(open_now) <= 3
            yield Scripted(str(n), parts_of(1, 1), on_open=enter, on_close=leave)

    await make_scheduler(8, window=3).run(make())
    assert (most, made) == (3, 30)
    assert trio.current_time() == 10.0


async def test_no_transfers_and_transfers_without_parts(autojump_clock: object) -> None:
    assert await make_scheduler().run([]) == []
    assert labels(await make_scheduler().run([Scripted("a"), Scripted("b")])) == ["a", "b"]
    assert trio.current_time() == 0.0


async def test_no_task_per_part_and_none_per_transfer_beyond_the_window(autojump_clock: object) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    most = 0

    async def count(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        nonlocal most
        await trio.lowlevel.checkpoint()
        most = max(most, trio.lowlevel.current_statistics().tasks_living - before)

    transfers = (Scripted(str(n), Parts(5_000, 10), on_move=count) for n in range(20))
    await make_scheduler(4, window=3).run(transfers)
    assert 0 < most <= 4 + 3


async def test_two_batches_at_once_share_the_limit_and_the_window(autojump_clock: object) -> None:
    now, most = 0, 0
    open_now, most_open = 0, 0

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1

    async def enter(transfer: Scripted) -> None:
        nonlocal open_now, most_open
        open_now += 1
        most_open = max(most_open, open_now)

    async def leave(transfer: Scripted) -> None:
        nonlocal open_now
        open_now -= 1

    scheduler = make_scheduler(3, window=2)
    results: dict[str, list[str | None]] = {}

    async def run(name: str) -> None:
        batch = [Scripted(name, parts_of(1, 1, 1), on_move=move, on_open=enter, on_close=leave) for _ in range(4)]
        results[name] = labels(await scheduler.run(batch))

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(run, name)
    assert results == {"a": ["a"] * 4, "b": ["b"] * 4}
    assert (most, most_open) == (3, 2)
    assert trio.current_time() == 8.0  # 24 parts, 3 at once, never idle


async def test_a_batch_takes_the_places_that_another_has_no_parts_for(autojump_clock: object) -> None:
    async def finish_slowly(transfer: Scripted) -> None:
        await trio.sleep(50)

    scheduler = make_scheduler(1)
    late = Scripted("b", parts_of(1, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run, [Scripted("a", parts_of(1), on_finish=finish_slowly)])
        await trio.sleep(0.5)
        nursery.start_soon(scheduler.run, [late])
    assert late.log[-1] == (3.0, "b", "close")


async def test_a_batch_goes_on_when_the_one_that_had_all_places_is_cancelled(autojump_clock: object) -> None:
    async def forever(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep_forever()

    scheduler = make_scheduler(2)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            doomed = trio.CancelScope()

            async def hog() -> None:
                with doomed:
                    await scheduler.run([Scripted("hog", parts_of(1, 1, 1, 1), on_move=forever)])

            nursery.start_soon(hog)
            await trio.sleep(1)
            nursery.start_soon(scheduler.run, [Scripted("b", parts_of(1, 1))])
            await trio.sleep(1)
            doomed.cancel()
    assert trio.current_time() == 3.0
    assert (scheduler.workers, scheduler.moving) == (0, 0)


async def test_a_limit_that_grows_puts_more_parts_on_their_way_at_once(autojump_clock: object) -> None:
    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        for _ in range(100):
            await trio.sleep(0.1)
            progress(part.size // 100)

    one = Scripted("a", parts_of(*[1000] * 40), on_move=move)
    limit = ConcurrencyLimit(minimum=1, maximum=8, limit=2)
    await make_scheduler(limit).run([one])
    # The server serves each part at its own speed, so more at once is better; the first parts take 10 s.
    assert one.most_moving == 8
    assert sum(at < 9.0 for at, _ in moves(one.log)) == 8


@pytest.mark.parametrize("count", [10_000])
async def test_a_part_that_does_nothing_costs_next_to_nothing(count: int) -> None:
    """60 microseconds are allowed; three times that of processor time here, for other machines."""

    class Null(Scripted):
        async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
            await trio.lowlevel.checkpoint()

    one = Null("a", Parts(count * 65_536, 65_536))
    started = time.process_time()
    assert labels(await make_scheduler(4).run([one])) == ["a"]
    per_part = (time.process_time() - started) / count
    assert per_part < 180e-6
