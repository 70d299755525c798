"""The scheduler and the limit together, against servers with bounds, in virtual time."""

from __future__ import annotations

import attrs
import pytest
import trio

from connector.errors import RETRY
from connector.parts import Part, Parts
from connector.transfer import OverloadedError, Progress
from connector.transfer.limit import ConcurrencyLimit
from tests.support.scripted_transfers import Scripted, make_scheduler

pytestmark = pytest.mark.trio

MB = 1_000_000


@attrs.define
class Server:
    """Serves each connection at 10 MB/s, and refuses more than ``most`` of them."""

    most: int = 10**9
    serving: int = 0
    requests: int = 0
    refused: int = 0
    through: int = 0

    async def move(self, transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(0.02)
        self.requests += 1
        if self.serving >= self.most:
            self.refused += 1
            raise OverloadedError("Busy.", advice=RETRY)
        self.serving += 1
        try:
            for _ in range(4):
                await trio.sleep(part.size / 4 / (10 * MB))
                self.through += part.size // 4
                progress(part.size // 4)
        finally:
            self.serving -= 1

    async def run(self, limit: ConcurrencyLimit, seconds: float, part: int = 4 * MB) -> None:
        with trio.move_on_after(seconds):
            big = Scripted("a", Parts(10**12, part), on_move=self.move)
            await make_scheduler(limit, budget=200 * MB).run([big])


@pytest.mark.parametrize(("most", "share"), [(16, 0.75), (32, 0.6)])
async def test_ten_seconds_are_enough_to_find_the_best(autojump_clock: object, most: int, share: float) -> None:
    server, limit = Server(), ConcurrencyLimit(maximum=most)
    await server.run(limit, 10)
    assert limit.limit == most
    assert server.through > share * 10 * most * 10 * MB  # of ten seconds, the climb included


async def test_a_server_that_refuses_is_asked_no_more_than_it_serves(autojump_clock: object) -> None:
    server, limit = Server(most=6), ConcurrencyLimit(maximum=16)
    await server.run(limit, 150)
    assert limit.limit in (5, 6)
    assert server.refused < 0.03 * server.requests
    assert server.through > 0.9 * 150 * 60 * MB


async def test_what_was_refused_is_tried_again_within_the_lower_limit(autojump_clock: object) -> None:
    server, limit = Server(most=6), ConcurrencyLimit(limit=9)
    await server.run(limit, 3.5, part=20 * MB)
    assert (limit.limit, server.refused) == (6, 3)
    assert server.requests > 12


async def test_each_second_brings_two_steps_where_they_gain_all_they_can(autojump_clock: object) -> None:
    server, limit = Server(), ConcurrencyLimit(maximum=32)
    await server.run(limit, 4)
    assert limit.limit == 32
