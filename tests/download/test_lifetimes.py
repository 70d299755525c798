"""Downloads of hours, in virtual time: what runs out meanwhile is renewed before it does."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from connector.errors import BrokenError, RefusedError
from tests.download.conftest import Desk
from tests.support.fake_archive import BASE, FakeArchive

pytestmark = pytest.mark.trio

ALWAYS = 10**6

MOVED = f"{BASE}/moved/dcs"


class MovingArchive(FakeArchive):
    """Known by a new address from the start, and by its old one for ten minutes more."""

    def __init__(self, user: KeyPair) -> None:
        super().__init__(user)
        self.asked_anew = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if url.startswith(MOVED):
            self.asked_anew += 1
            request = httpx.Request(request.method, url.replace("/moved", ""), headers=request.headers)
        elif "/dcs/" in url and trio.current_time() > 600:
            return httpx.Response(410)
        answer = await super().__call__(request)
        if url.endswith("/values"):
            self.apis["dcs"] = MOVED
        return answer


async def download(desk: Desk, *, parts: int, seconds: float) -> None:
    """One part at a time, each of which takes so long."""
    desk.archive.latency["get"] = seconds
    data = desk.file(parts - 0.5)
    (outcome,) = await desk.download(decrypt=True, concurrency=1)
    assert outcome.ok, outcome.error
    assert desk.plaintext("GHGAF01.bin", decrypt=True) == data
    assert trio.current_time() >= parts * seconds


async def test_an_archive_that_moves_is_followed(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive = archive = MovingArchive(desk.user)
    await download(desk, parts=10, seconds=75)
    assert archive.asked_anew
    assert 2 <= archive.counts["values"] < 10


async def test_values_that_cannot_be_renewed_stay_in_use(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.fail("values", 503, times=1000, when=lambda _: desk.archive.counts["values"] > 1)
    await download(desk, parts=8, seconds=100)
    assert desk.archive.counts["values"] > 1


async def test_nothing_is_used_for_more_than_an_hour(desk: Desk, virtual_time: MockClock) -> None:
    desk.archive.url_seconds = desk.archive.token_seconds = 10.0**7
    await download(desk, parts=8, seconds=1000)
    assert 2 <= desk.archive.counts["object"] < 8


async def test_tokens_and_addresses_are_renewed_before_they_expire(desk: Desk, virtual_time: MockClock) -> None:
    await download(desk, parts=6, seconds=50)
    assert desk.archive.counts["get"] == 6, "none was refused"
    assert 3 <= desk.archive.counts["object"] <= 7, "each is good for 60 s"


@attrs.frozen
class Refusal:
    """The first ``times`` requests of parts for the file's address are refused, and ``requests`` are made in all; from
    the first of them to the last it takes ``pause`` seconds or more."""

    name: str
    status: int
    times: int
    error: type[Exception] | None
    requests: int
    rule: str
    fields: Mapping[str, str] = attrs.field(factory=dict)
    pause: float = 0.0


REFUSALS = [
    Refusal("no refusal", 0, 0, None, 2, "RFC 9111, 4"),
    Refusal("401 once", 401, 1, None, 3, "RFC 9110, 15.5.2"),
    Refusal("401 always", 401, ALWAYS, RefusedError, 4, "RFC 9110, 15.5.2: a cached token and two fresh ones"),
    Refusal("429, then", 429, 1, None, 3, "RFC 9110, 10.2.3", {"retry_after": "1"}, 1.0),
    Refusal("429 always", 429, ALWAYS, BrokenError, 5, "RFC 9111, 4", pause=1.0 + 2.0 + 4.0),
    Refusal("503 once", 503, 1, None, 3, "RFC 9111, 4", pause=1.0),
    Refusal("503 always", 503, ALWAYS, BrokenError, 5, "RFC 9111, 4", pause=1.0 + 2.0 + 4.0),
    Refusal("503, in an hour", 503, ALWAYS, BrokenError, 2, "RFC 9110, 10.2.3", {"retry_after": "3600"}),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[f"{row.name} ({row.rule})" for row in REFUSALS])
async def test_32_parts_that_ask_at_once_share_the_answer_whatever_it_is(
    desk: Desk, row: Refusal, virtual_time: MockClock
) -> None:
    """Requests that wait for the same answer are collapsed, also where it may not be kept for anybody afterwards.

    One request when the file is opened, and those of the row for all of its 32 parts together.
    """
    archive, times = desk.archive, list[float]()

    def note(request: httpx.Request) -> bool:
        times.append(trio.current_time())
        return False

    archive.fields["object"] = lambda _: {"Cache-Control": ["no-store"]}
    archive.latency["object"] = 0.5
    archive.fail("object", 500, times=ALWAYS, when=note)
    archive.fail("object", row.status, times=row.times, when=lambda _: len(times) > 1, **row.fields)
    desk.file(32)
    (outcome,) = await desk.download(concurrency=32)
    assert isinstance(outcome.error, row.error or type(None)), outcome.error
    assert archive.counts["get"] == (0 if row.error else 32)
    assert len(times) == row.requests
    assert times[-1] - times[1] >= row.pause
