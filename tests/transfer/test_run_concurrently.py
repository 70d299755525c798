from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from connector.errors import LocalError, RefusedError
from connector.transfer import run_concurrently

pytestmark = pytest.mark.trio


async def test_all_steps_are_taken_at_once_and_their_results_come_in_order(autojump_clock: MockClock) -> None:
    async def step(seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    assert await run_concurrently(partial(step, 1.0), partial(step, 0.5), partial(step, 0.75)) == [1.0, 0.5, 0.75]
    assert trio.current_time() == pytest.approx(1, abs=0.01)


async def test_the_first_of_those_that_failed_is_raised_when_all_have_ended(autojump_clock: MockClock) -> None:
    ended: list[int] = []

    def step(number: int, error: Exception | None) -> Callable[[], Awaitable[None]]:
        async def take() -> None:
            await trio.sleep(3 - number)
            ended.append(number)
            if error is not None:
                raise error

        return take

    with pytest.raises(LocalError, match="first"):
        await run_concurrently(
            step(0, None), step(1, LocalError("first")), step(2, RefusedError("second, though earlier"))
        )
    assert ended == [2, 1, 0]


async def test_what_is_no_error_of_ours_is_not_kept_back() -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await run_concurrently(bug)
