from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import attrs
import pytest
import trio

from connector.errors import NO_RETRY, RENEW, RETRY, BrokenError, ConnectorError, RetryPolicy
from connector.transfer import Retrier
from connector.transfer.steps import Backoff

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


def broken(advice: RetryPolicy) -> BrokenError:
    return BrokenError("Broken.", advice=advice)


def retrier(attempts: int = 5, longest_wait: float = 600.0) -> Retrier:
    return Retrier(attempts, Backoff(base=1.0, cap=60.0), longest_wait, uniform=lambda: 1.0)


@pytest.mark.parametrize(
    ("advices", "times"),
    [
        ([], [0]),
        ([RETRY], [0, 1]),
        ([RETRY, RETRY, RETRY], [0, 1, 3, 7]),
        ([RetryPolicy(again=True, after=2.5)], [0, 3.75]),
        ([RetryPolicy(again=True, after=600.0)], [0, 660]),
        ([RETRY, RetryPolicy(again=True, after=10.0), RETRY], [0, 1, 16, 20]),
        ([RENEW], [0, 0]),
        ([RENEW, RENEW], [0, 0, 2]),
        ([RETRY, RENEW, RETRY], [0, 1, 1, 5]),
        ([RENEW, RETRY, RENEW], [0, 0, 2, 2]),
    ],
)
async def test_the_advice_sets_the_time_of_the_next_try(
    autojump_clock: object, advices: list[RetryPolicy], times: list[float]
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
        ([broken(NO_RETRY)], 1),
        ([broken(RETRY), broken(NO_RETRY)], 2),
        ([broken(RETRY)] * 5, 5),
        ([broken(RetryPolicy(again=True, after=600.1))], 1),
        ([ValueError("a bug")], 1),
    ],
)
async def test_it_gives_up(autojump_clock: object, errors: list[Exception], tries: int) -> None:
    step, told = Step(errors), []
    with pytest.raises(type(errors[-1])) as caught:
        await retrier().run(step, notify=lambda error, delay: told.append(error))
    assert (type(caught.value), str(caught.value)) == (type(errors[-1]), str(errors[-1]))
    assert not getattr(caught.value, "advice", NO_RETRY).again
    assert len(step.times) == tries
    assert len(told) == tries - 1


async def test_a_line_that_is_cut_but_brings_something_each_time_is_hardly_waited_for(autojump_clock: object) -> None:
    """Neither the growing waits of a line that brings nothing, nor a storm of requests."""
    step = Step([broken(RENEW) for _ in range(6)])
    assert await retrier(3).run(step, made_progress=lambda: True) == "done"
    assert [after - before for before, after in pairwise(step.times)] == pytest.approx([0.0, *[0.1] * 5])


async def test_those_who_were_refused_together_come_back_one_by_one(autojump_clock: object) -> None:
    rng = random.Random(7)
    back: list[float] = []

    async def part() -> None:
        step = Step([broken(RetryPolicy(again=True, after=2.0))])
        await Retrier(uniform=rng.random).run(step)
        back.append(step.times[-1])

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(part)
    assert min(back) >= 2.0, "never earlier than asked"
    assert max(back) < 3.0
    assert max(back) - min(back) > 0.5


async def test_the_error_itself_is_not_changed(autojump_clock: object) -> None:
    error = broken(RETRY)
    with pytest.raises(BrokenError) as caught:
        await retrier(1).run(Step([error]))
    assert (caught.value.advice, error.advice) == (NO_RETRY, RETRY)
    assert caught.value.__traceback__ is not None


async def test_who_is_above_is_advised_not_to_try_once_more(autojump_clock: object) -> None:
    """Else loops in loops would multiply the tries."""
    step = Step([broken(RETRY) for _ in range(100)])
    with pytest.raises(ConnectorError):
        await retrier(3).run(lambda: retrier(3).run(step))
    assert len(step.times) == 3


async def test_a_wait_can_be_cancelled(autojump_clock: object) -> None:
    with trio.move_on_after(5) as scope:
        await retrier().run(Step([broken(RetryPolicy(again=True, after=500.0))]))
    assert scope.cancelled_caught
    assert trio.current_time() == 5


LIMITED = RetryPolicy(again=True, rate_limited=True)


@pytest.mark.parametrize("advice", [LIMITED, attrs.evolve(LIMITED, after=1.0)])
async def test_the_waits_for_a_limit_of_the_rate_add_up_to_more_than_a_minute(
    autojump_clock: object, advice: RetryPolicy
) -> None:
    step = Step([broken(advice)] * 8)
    assert await Retrier(9, uniform=lambda: 0.0).run(step) == "done"
    assert step.times[-1] > 60
    assert all(later - earlier >= (advice.after or 0) for earlier, later in pairwise(step.times))


@pytest.mark.parametrize(("advice", "tries"), [(LIMITED, 20), (RETRY, 5)])
async def test_a_limit_that_lets_others_pass_is_waited_for_longer(
    autojump_clock: object, advice: RetryPolicy, tries: int
) -> None:
    step = Step([broken(advice)] * 100)
    with pytest.raises(BrokenError):
        await retrier(5).run(step, answered=lambda: len(step.times))
    assert len(step.times) == tries


async def test_a_limit_that_lets_nothing_pass_is_not(autojump_clock: object) -> None:
    step = Step([broken(LIMITED)] * 100)
    with pytest.raises(BrokenError):
        await retrier(5).run(step)
    assert len(step.times) == 5
