"""Transfers that cannot be opened yet step aside, and hold up nobody."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
from trio.testing import MockClock

from connector.parts import Part, Parts
from connector.transfer import BufferPool, NotReadyError, Observer, Progress, Retrier, Scheduler, SilentObserver
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.transfers import OpenTransferLimiter
from tests.support.observers import Notes

pytestmark = pytest.mark.trio


class Late:
    """Opens only after it was put off `times` times for ten seconds each."""

    def __init__(self, label: str, times: int, opened: list[str]) -> None:
        self.label = label
        self.times = times
        self.opened = opened
        self.closed = 0

    async def prepare(self) -> None:
        pass

    async def open(self) -> Parts:
        await trio.sleep(0)
        if self.times:
            self.times -= 1
            raise NotReadyError("not yet", seconds=10)
        self.opened.append(self.label)
        return Parts(100, 60)

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        progress(part.size)

    async def finish(self) -> str:
        return self.label

    async def close(self) -> None:
        self.closed += 1


def scheduler(window: int, observer: Observer | None = None) -> Scheduler:
    return Scheduler(
        pool=BufferPool(2**20),
        limit=ConcurrencyLimit.fixed(2),
        retrier=Retrier(),
        observer=observer or SilentObserver(),
        window=window,
    )


async def test_all_wait_at_once_though_only_one_may_be_open(autojump_clock: MockClock) -> None:
    opened: list[str] = []
    transfers = [Late(f"t{n}", 1, opened) for n in range(5)] + [Late("ready", 0, opened)]
    outcomes = await scheduler(1).run(transfers)
    assert [outcome.unwrap() for outcome in outcomes] == ["t0", "t1", "t2", "t3", "t4", "ready"]
    assert opened[0] == "ready"
    assert trio.current_time() == pytest.approx(10)
    assert [transfer.closed for transfer in transfers] == [2] * 5 + [1]


async def test_it_is_put_off_as_often_as_it_takes(autojump_clock: MockClock) -> None:
    (outcome,) = await scheduler(1).run([Late("patient", 30, [])])
    assert outcome.ok
    assert trio.current_time() == pytest.approx(300)


async def test_cancelled_while_aside_nothing_is_left_inside(autojump_clock: MockClock) -> None:
    transfers = [Late(f"t{n}", 10**6, []) for n in range(5)]
    machine = scheduler(2)
    with trio.move_on_after(25) as scope:
        await machine.run(transfers)
    assert scope.cancelled_caught
    (outcome,) = await machine.run([Late("next", 0, [])])
    assert outcome.ok


async def test_a_place_is_given_back_once() -> None:
    window = OpenTransferLimiter(1, patience=60.0)
    await window.admit("a")
    window.exit("a")
    window.exit("a")
    await window.admit("b")
    with trio.move_on_after(0.01) as scope:
        await window.admit("c")
    assert scope.cancelled_caught


class LockedElsewhere(Late):
    """Cannot even be prepared at first."""

    async def prepare(self) -> None:
        await trio.sleep(0)
        if self.times:
            self.times -= 1
            raise NotReadyError("Another process is working on it.", seconds=5)


async def test_one_that_cannot_be_prepared_steps_aside_too_and_the_observer_hears_why(
    autojump_clock: MockClock,
) -> None:
    opened: list[str] = []
    notes = Notes()
    outcomes = await scheduler(1, notes).run([LockedElsewhere("locked", 3, opened), Late("free", 0, opened)])
    assert [outcome.unwrap() for outcome in outcomes] == ["locked", "free"]
    assert opened == ["free", "locked"]
    assert notes.waits == [("locked", 5, "Another process is working on it.")] * 3


class Worked:
    """What a step works with."""


async def test_what_a_postponed_try_worked_with_is_freed_while_it_waits(autojump_clock: MockClock) -> None:
    """Not only by the garbage collector, which searches old objects rarely."""
    worked: list[weakref.ref[Worked]] = []
    alive: list[int] = []

    class Working(Late):
        async def open(self) -> Parts:
            alive.append(sum(one() is not None for one in worked))
            used = Worked()
            worked.append(weakref.ref(used))
            try:
                return await super().open()
            except NotReadyError as error:
                raise NotReadyError(error.message, seconds=error.seconds) from error

    gc.disable()
    try:
        await scheduler(1).run([Working("late", 5, [])])
    finally:
        gc.enable()
    assert alive == [0] * 6
