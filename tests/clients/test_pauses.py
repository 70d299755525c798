"""Pauses that a server asks for are kept by all who ask for the same resource, and by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_client import ApiClient, RequestedPauses
from connector.clients.api_transport import ApiReply, ApiRequest, ApiTransport, error_from_response
from connector.errors import RETRY, ConnectorError, RetryPolicy
from connector.transfer import OverloadedError, Retrier, SilentObserver
from connector.transfer.steps import Backoff
from tests.clients.conftest import Handler

pytestmark = pytest.mark.trio


def request(path: str = "/x", method: str = "GET") -> ApiRequest:
    return ApiRequest(method, f"https://a.test{path}")  # type: ignore[arg-type]


def asking(seconds: float | None) -> ConnectorError:
    return OverloadedError("Busy.", advice=RetryPolicy(again=True, after=seconds))


def pauses(**options: float) -> RequestedPauses:
    return RequestedPauses(Retrier(backoff=Backoff(base=1.0, cap=8.0), uniform=lambda: 0.5, **options))  # type: ignore[arg-type]


async def test_the_same_resource_is_not_asked_for_before_the_pause_is_over(autojump_clock: MockClock) -> None:
    one = pauses()
    one.note(request(), asking(10.0))
    await trio.sleep(4.0)
    assert await one.wait(request())
    assert trio.current_time() == 10.0 + 6.0 / 2 / 2, "what is left of it, and a random share of half as much"
    assert not await one.wait(request())


@pytest.mark.parametrize("other", [request("/y"), request(method="POST")])
async def test_other_resources_are(autojump_clock: MockClock, other: Any) -> None:
    one = pauses()
    one.note(request(), asking(10.0))
    assert not await one.wait(other)
    assert trio.current_time() == 0.0


@pytest.mark.parametrize("error", [asking(None), asking(0.0), OverloadedError("Silent.", advice=RETRY)])
async def test_where_no_pause_is_asked_for_there_is_none(autojump_clock: MockClock, error: Any) -> None:
    one = pauses()
    one.note(request(), error)
    assert not await one.wait(request())


async def test_a_pause_beyond_all_patience_is_a_no_for_everybody(autojump_clock: MockClock) -> None:
    one = pauses(longest_wait=600.0)
    one.note(request(), asking(3600.0))
    await trio.sleep(1000.0)
    with pytest.raises(OverloadedError, match="2600 seconds") as caught:
        await one.wait(request())
    assert not caught.value.advice.again
    await trio.sleep(2000.0)
    assert await one.wait(request())
    assert trio.current_time() >= 3600.0


async def test_an_asker_cancelled_in_its_pause_leaves_it_to_the_next(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    asked: list[float] = []

    def busy(_: httpx.Request) -> httpx.Response:
        asked.append(trio.current_time())
        return httpx.Response(503, headers={"Retry-After": "60"}) if len(asked) == 1 else httpx.Response(200)

    def read(reply: ApiReply) -> int:
        if reply.status != 200:
            raise error_from_response(reply, "do it")
        return reply.status

    caller = ApiClient(ApiTransport(answered_by(busy)), Retrier(), SilentObserver())
    with trio.move_on_after(5.0):
        await caller.call(request, read)
    assert await caller.call(request, read) == 200
    assert len(asked) == 2
    assert asked[1] >= 60.0
