from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import attrs
import pytest
import trio

from connector.core.backoff import Backoff
from connector.errors import GIVE_UP, RENEW, TRY_AGAIN, Advice, BrokenError, ConnectorError
from connector.transfer import Retrier

pytestmark = pytest.mark.trio


@attrs.define
class Step:
    """Fails with each of the errors in turn, then returns "done"; notes when it was run."""

    errors: Sequence[Exception]
    times: list[float] = attrs.field(factory=list)

    async def __call__(self) -> str:
        self.times.append(trio.current_time())
        if len(self.times) <= len(self.errors):
            raise self.errors[len(self.times) - 1]
        return "done"


def broken(advice: Advice) -> BrokenError:
    return BrokenError("Broken.", advice=advice)


def retrier(attempts: int = 5, longest_wait: float = 600.0) -> Retrier:
    return Retrier(attempts, Backoff(base=1.0, cap=60.0), longest_wait, uniform=lambda: 1.0)


@pytest.mark.parametrize(
    ("advices", "times"),
    [
        ([], [0]),
        ([TRY_AGAIN], [0, 1]),
        ([TRY_AGAIN, TRY_AGAIN, TRY_AGAIN], [0, 1, 3, 7]),
        ([Advice(again=True, after=2.5)], [0, 3.75]),
        ([Advice(again=True, after=600.0)], [0, 660]),
        ([TRY_AGAIN, Advice(again=True, after=10.0), TRY_AGAIN], [0, 1, 16, 20]),
        ([RENEW], [0, 0]),
        ([RENEW, RENEW], [0, 0, 2]),
        ([TRY_AGAIN, RENEW, TRY_AGAIN], [0, 1, 1, 5]),
        ([RENEW, TRY_AGAIN, RENEW], [0, 0, 2, 2]),
    ],
)
async def test_the_advice_sets_the_time_of_the_next_try(
    autojump_clock: object, advices: list[Advice], times: list[float]
) -> None:
    step, told = Step([broken(advice) for advice in advices]), []
    result = await retrier().run(step, notify=lambda error, delay: told.append((error, delay)))
    assert result == "done"
    assert step.times == times
    assert [error for error, _ in told] == step.errors
    assert [delay for _, delay in told] == [after - before for before, after in pairwise(times)]


@pytest.mark.parametrize(
    ("errors", "tries"),
    [
        ([broken(GIVE_UP)], 1),
        ([broken(TRY_AGAIN), broken(GIVE_UP)], 2),
        ([broken(TRY_AGAIN)] * 5, 5),
        ([broken(Advice(again=True, after=600.1))], 1),
        ([ValueError("a bug")], 1),
    ],
)
async def test_it_gives_up(autojump_clock: object, errors: list[Exception], tries: int) -> None:
    step, told = Step(errors), []
    with pytest.raises(type(errors[-1])) as caught:
        await retrier().run(step, notify=lambda error, delay: told.append(error))
    assert (type(caught.value), str(caught.value)) == (type(errors[-1]), str(errors[-1]))
    assert not getattr(caught.value, "advice", GIVE_UP).again
    assert len(step.times) == tries
    assert len(told) == tries - 1


async def test_a_line_that_is_cut_but_brings_something_each_time_is_hardly_waited_for(autojump_clock: object) -> None:
    """Neither the growing waits of a line that brings nothing, nor a storm of requests."""
    step = Step([broken(RENEW) for _ in range(6)])
    assert await retrier(3).run(step, got_farther=lambda: True) == "done"
    assert [after - before for before, after in pairwise(step.times)] == pytest.approx([0.0, *[0.1] * 5])


async def test_those_who_were_refused_together_come_back_one_by_one(autojump_clock: object) -> None:
    rng = random.Random(7)
    back: list[float] = []

    async def part() -> None:
        step = Step([broken(Advice(again=True, after=2.0))])
        await Retrier(uniform=rng.random).run(step)
        back.append(step.times[-1])

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(part)
    assert min(back) >= 2.0, "never earlier than asked"
    assert max(back) < 3.0
    assert max(back) - min(back) > 0.5


async def test_the_error_itself_is_not_changed(autojump_clock: object) -> None:
    error = broken(TRY_AGAIN)
    with pytest.raises(BrokenError) as caught:
        await retrier(1).run(Step([error]))
    assert (caught.value.advice, error.advice) == (GIVE_UP, TRY_AGAIN)
    assert caught.value.__traceback__ is not None


async def test_who_is_above_is_advised_not_to_try_once_more(autojump_clock: object) -> None:
    """Else loops in loops would multiply the tries."""
    step = Step([broken(TRY_AGAIN) for _ in range(100)])
    with pytest.raises(ConnectorError):
        await retrier(3).run(lambda: retrier(3).run(step))
    assert len(step.times) == 3


async def test_a_wait_can_be_cancelled(autojump_clock: object) -> None:
    with trio.move_on_after(5) as scope:
        await retrier().run(Step([broken(Advice(again=True, after=500.0))]))
    assert scope.cancelled_caught
    assert trio.current_time() == 5
