from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from connector.errors import RETRY, BrokenError
from connector.parts import Part
from connector.transfer import Progress, Sequencer
from tests.support.scripted_transfers import Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio


async def test_steps_go_through_in_order_whatever_order_they_come_in(autojump_clock: object) -> None:
    turns, order = Sequencer(), []

    async def step(number: int, after: float) -> None:
        await trio.sleep(after)
        async with turns.in_order(number):
            order.append(number)
            await trio.sleep(1)
            assert order[-1] == number, "two at once"

    waits = random.Random(1)
    async with trio.open_nursery() as nursery:
        for number in range(1, 11):
            nursery.start_soon(step, number, waits.uniform(0, 5))
    assert order == list(range(1, 11))
    assert turns.next == 11


async def test_which_steps_are_done() -> None:
    turns = Sequencer()
    async with turns.in_order(1):
        assert (turns.next, turns.is_done(1)) == (1, False)
    assert (turns.next, turns.is_done(1), turns.is_done(2)) == (2, True, False)


async def test_a_step_that_fails_keeps_its_turn(autojump_clock: object) -> None:
    turns = Sequencer()
    with pytest.raises(ZeroDivisionError):
        async with turns.in_order(1):
            raise ZeroDivisionError
    assert not turns.is_done(1)
    with trio.move_on_after(1) as scope:
        async with turns.in_order(2):
            pass
    assert scope.cancelled_caught
    async with turns.in_order(1):
        pass
    with trio.fail_after(1):
        async with turns.in_order(2):
            pass


async def test_a_step_taken_again_does_not_turn_the_order_back(autojump_clock: object) -> None:
    turns = Sequencer()
    for number in (1, 2, 1):
        async with turns.in_order(number):
            pass
    assert turns.next == 3
    with trio.fail_after(1):
        async with turns.in_order(3):
            pass


async def test_one_who_gives_up_waiting_comes_again(autojump_clock: object) -> None:
    turns, order = Sequencer(), []

    async def step(number: int) -> None:
        async with turns.in_order(number):
            order.append(number)

    with trio.move_on_after(1):
        await step(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(step, 2)
        await wait_all_tasks_blocked()
        nursery.start_soon(step, 1)
    assert order == [1, 2]


async def test_parts_that_are_tried_again_are_counted_once_and_in_order(autojump_clock: object) -> None:
    turns, counted = Sequencer(), []
    draw = random.Random(4)

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(draw.uniform(0, 3))
        if draw.random() < 0.3:
            raise BrokenError("Before its turn.", advice=RETRY)
        if not turns.is_done(part.number):
            async with turns.in_order(part.number):
                if draw.random() < 0.3:
                    raise BrokenError("In its turn.", advice=RETRY)
                counted.append(part.number)
        if draw.random() < 0.3:
            raise BrokenError("After its turn.", advice=RETRY)

    one = Scripted("a", parts_of(*[10] * 50), on_move=move)
    with trio.fail_after(10_000):
        assert labels(await make_scheduler(4, attempts=100).run([one])) == ["a"]
    assert counted == list(range(1, 51))
