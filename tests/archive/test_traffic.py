"""Work in the background gives way to requests, and is not kept waiting for ever."""

from __future__ import annotations

import pytest
import trio

from connector.archive.traffic import Traffic

pytestmark = pytest.mark.trio


async def wait(traffic: Traffic) -> float:
    began = trio.current_time()
    await traffic.lull(quiet=0.25, patience=10)
    return trio.current_time() - began


async def test_where_nobody_asks_nobody_waits(autojump_clock):
    assert await wait(Traffic()) == 0


async def test_it_begins_when_there_was_no_request_for_a_while(autojump_clock, nursery):
    traffic = Traffic()

    async def requests() -> None:
        for _ in range(20):
            with traffic.request():
                await trio.sleep(0.05)
            await trio.sleep(0.1)

    nursery.start_soon(requests)
    await trio.sleep(0.01)
    assert await wait(traffic) == pytest.approx(19 * 0.15 + 0.05 + 0.25 - 0.01, abs=0.26)


@pytest.mark.parametrize("ended", [False, True])
async def test_patience_ends(autojump_clock, nursery, ended):
    traffic = Traffic()

    async def requests() -> None:
        while True:
            with traffic.request():
                await trio.sleep(0.2 if ended else 1000)

    nursery.start_soon(requests)
    await trio.sleep(0.01)
    assert await wait(traffic) == pytest.approx(10)
    nursery.cancel_scope.cancel()


async def test_a_request_that_breaks_is_over(autojump_clock):
    traffic = Traffic()
    with pytest.raises(ZeroDivisionError), traffic.request():
        raise ZeroDivisionError
    assert await wait(traffic) == pytest.approx(0.25)
