"""What is lent for a while: fetched once for all who ask, renewed in time, dropped when refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_client import CachedValue, Expiring
from connector.errors import RETRY, BrokenError

pytestmark = pytest.mark.trio


class Lender:
    """Lends a new object each time; takes ``delay`` seconds, fails while there are ``failures``."""

    def __init__(self, *, seconds: float = 10.0, delay: float = 0.0) -> None:
        self.seconds = seconds
        self.delay = delay
        self.failures = 0
        self.calls = 0

    async def __call__(self) -> Expiring[list[int]]:
        self.calls += 1
        await trio.sleep(self.delay)
        if self.failures:
            self.failures -= 1
            raise BrokenError("Nothing to lend.", advice=RETRY)
        return Expiring([self.calls], self.seconds)


async def test_concurrent_askers_share_one_call(autojump_clock: MockClock) -> None:
    lender = Lender(delay=1.0)
    lease = CachedValue(lender)
    got: list[list[int]] = []

    async def ask() -> None:
        got.append(await lease.get())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert lender.calls == 1
    assert got == [[1]] * 20
    assert trio.current_time() == 1.0


@pytest.mark.parametrize("failures", [0, 1])
async def test_those_who_ask_at_the_same_moment_share_an_answer_that_takes_no_time(failures: int) -> None:
    calls = 0

    async def fetch() -> Expiring[int]:  # without a checkpoint, as when the bytes are there already
        nonlocal calls
        calls += 1
        if failures:
            raise BrokenError("Nothing to lend.")
        return Expiring(calls, 0.0)

    lease = CachedValue(fetch)

    async def ask() -> None:
        with suppress(BrokenError):
            await lease.get()

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(ask)
    assert calls == 1


async def test_it_is_used_until_its_time_is_over(autojump_clock: MockClock) -> None:
    lender = Lender(seconds=10.0)
    lease = CachedValue(lender)
    first = await lease.get()
    await trio.sleep(9.9)
    assert await lease.get() is first
    await trio.sleep(0.1)
    assert await lease.get() == [2]


async def test_the_time_counts_from_before_the_call(autojump_clock: MockClock) -> None:
    lender = Lender(seconds=10.0, delay=4.0)
    lease = CachedValue(lender)
    await lease.get()
    await trio.sleep(5.9)
    assert await lease.get() == [1]
    await trio.sleep(0.1)
    assert await lease.get() == [2]


async def test_something_without_any_lifetime_is_still_good_for_who_asked(autojump_clock: MockClock) -> None:
    lease = CachedValue(Lender(seconds=0.0))
    assert await lease.get() == [1]
    assert await lease.get() == [2]


async def test_a_refused_value_is_fetched_anew() -> None:
    lease = CachedValue(Lender())
    lease.refuse(await lease.get())
    assert await lease.get() == [2]


async def test_a_late_refusal_does_not_drop_what_came_after(autojump_clock: MockClock) -> None:
    lender = Lender()
    lease = CachedValue(lender)
    old = await lease.get()
    lease.refuse(old)
    new = await lease.get()
    lease.refuse(old)
    assert await lease.get() is new
    assert lender.calls == 2


async def test_an_equal_value_is_not_the_same_value() -> None:
    lease = CachedValue(Lender())
    held = await lease.get()
    lease.refuse(list(held))
    assert await lease.get() is held


async def test_a_failure_is_shared_by_those_who_waited_for_it(autojump_clock: MockClock) -> None:
    lender = Lender(delay=1.0)
    lender.failures = 1
    lease = CachedValue(lender)
    errors: list[BrokenError] = []

    async def ask() -> None:
        with pytest.raises(BrokenError, match="Nothing to lend") as caught:
            await lease.get()
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(ask)
    assert lender.calls == 1
    assert len({id(error) for error in errors}) == 32, "tracebacks of one are not those of another"
    assert {error.advice for error in errors} == {RETRY}
    assert await lease.get() == [2], "who comes later tries for itself"


async def test_with_no_lifetime_those_who_asked_meanwhile_share_one_call_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    lender = Lender(seconds=0.0, delay=1.0)
    lease = CachedValue(lender)
    got: list[list[int]] = []

    async def ask(after: float) -> None:
        await trio.sleep(after)
        got.append(await lease.get())

    async with trio.open_nursery() as nursery:
        for number in range(32):
            nursery.start_soon(ask, 0.9 * number / 32)
        nursery.start_soon(ask, 1.5)
    assert got == [[1]] * 32 + [[2]]
    assert trio.current_time() == 2.5


async def test_if_the_one_who_fetches_is_cancelled_another_takes_over(autojump_clock: MockClock) -> None:
    lender = Lender(delay=1.0)
    lease = CachedValue(lender)
    got: list[list[int]] = []

    async def ask() -> None:
        got.append(await lease.get())

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await lease.get()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.sleep(0.1)
        for _ in range(8):
            nursery.start_soon(ask)
    assert got == [[2]] * 8
    assert trio.current_time() == 1.5


async def test_it_is_in_use_while_it_is_fetched_and_until_its_time_is_over(autojump_clock: MockClock) -> None:
    lease = CachedValue(Lender(seconds=10.0, delay=1.0))
    seen = [lease.in_use]

    async def look() -> None:
        await trio.sleep(0.5)
        seen.append(lease.in_use)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await lease.get()
    seen.append(lease.in_use)
    await trio.sleep(9.0)
    seen.append(lease.in_use)
    assert seen == [False, True, True, False]


async def test_an_asker_that_goes_away_leaves_the_others_theirs(autojump_clock: MockClock) -> None:
    lender = Lender(delay=1.0)
    lease = CachedValue(lender)
    with trio.move_on_after(0.5) as impatient:
        await lease.get()
    assert impatient.cancelled_caught
    with trio.fail_after(2):
        assert await lease.get() == [2]
