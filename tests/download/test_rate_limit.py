"""A batch that meets a limit of requests per minute again and again."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from tests.download.conftest import Desk
from tests.support.fake_archive import FakeArchive

pytestmark = pytest.mark.trio

PER_MINUTE = 60


class Limited(FakeArchive):
    """Answers so many requests to its APIs in each minute."""

    def __init__(self, user: KeyPair) -> None:
        super().__init__(user)
        self.asked: Counter[int] = Counter()
        self.fields_of_refusals: dict[str, str] = {}
        self.refused = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        minute = int(trio.current_time() // 60)
        if request.url.host == "archive.test":
            self.asked[minute] += 1
            if self.asked[minute] > PER_MINUTE:
                self.refused += 1
                return httpx.Response(429, headers=self.fields_of_refusals)
        return await super().__call__(request)


@pytest.mark.parametrize("fields", [{}, {"Retry-After": "1"}], ids=["silent", "too short"])
async def test_all_files_of_a_batch_arrive(desk: Desk, virtual_time: MockClock, fields: dict[str, str]) -> None:
    desk.archive = archive = Limited(desk.user)
    archive.fields_of_refusals = fields
    for number in range(60):
        desk.file(0.1, f"GHGAF{number:02}")
    outcomes = await desk.download(attempts=12)  # the waits of this session are at most 8 s
    assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
    assert archive.refused
    assert trio.current_time() > 60
