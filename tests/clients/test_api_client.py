"""API calls with a token: the token is renewed when it is refused, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiRequest, ApiTransport, TokenRefusedError, error_from_response
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.transfer import OverloadedError, Retrier, SilentObserver
from connector.transfer.steps import Backoff
from tests.clients.conftest import Handler

pytestmark = pytest.mark.trio


class Desk:
    """An archive that takes only the tokens it is told to, and answers the rest with ``otherwise``."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tokens.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Orders:
    """Gives out ``token 1``, ``token 2``, ..."""

    def __init__(self, delay: float = 0.0) -> None:
        self.count = 0
        self.delay = delay

    async def __call__(self) -> Expiring[WorkOrderToken]:
        await trio.sleep(self.delay)
        self.count += 1
        return Expiring(WorkOrderToken(f"token-{self.count}"), 1e9)


class Notes(SilentObserver):
    def __init__(self) -> None:
        self.retries: list[tuple[type[ConnectorError], float]] = []

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        self.retries.append((type(error), delay))


def build(token: str) -> ApiRequest:
    return ApiRequest("GET", "https://a.test/x", token=token)


def read(reply: ApiReply) -> bytes:
    if reply.status != 200:
        raise error_from_response(reply, "do it")
    return reply.body


async def call(client: httpx.AsyncClient, orders: Orders, notes: Notes, attempts: int = 4) -> bytes:
    retrier = Retrier(attempts=attempts, backoff=Backoff(base=1, cap=8), uniform=lambda: 1.0)
    return await ApiClient(ApiTransport(client), retrier, notes).authorized(CachedValue(orders), build, read)


async def test_a_refused_token_is_renewed_and_the_call_made_again_at_once(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders, notes = Desk(httpx.Response(401), httpx.Response(200, content=b"ok")), Orders(), Notes()
    assert await call(answered_by(desk), orders, notes) == b"ok"
    assert desk.tokens == ["token-1", "token-2"]
    assert trio.current_time() == 0.0
    assert notes.retries == [(TokenRefusedError, 0.0)]


async def test_the_second_fresh_token_that_is_refused_is_final(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders, notes = Desk(httpx.Response(401)), Orders(), Notes()
    with pytest.raises(TokenRefusedError) as caught:
        await call(answered_by(desk), orders, notes)
    assert desk.tokens == ["token-1", "token-2"]
    assert trio.current_time() == 0.0
    assert not caught.value.advice.again, "whoever is above must not start over"


async def test_a_cached_token_that_is_refused_counts_as_none(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders = Desk(httpx.Response(200), httpx.Response(401)), Orders()
    caller, order = ApiClient(ApiTransport(answered_by(desk)), Retrier(attempts=1), Notes()), CachedValue(orders)
    await caller.authorized(order, build, read)
    with pytest.raises(TokenRefusedError):
        await caller.authorized(order, build, read)
    assert desk.tokens == ["token-1", "token-1", "token-2", "token-3"]


async def test_a_cached_token_does_not_become_fresh_by_another_that_came_meanwhile(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders = Desk(httpx.Response(401)), Orders()

    async def slowly(request: httpx.Request) -> httpx.Response:
        await trio.sleep(1.0)
        return desk(request)

    caller, order = ApiClient(ApiTransport(answered_by(slowly)), Retrier(attempts=1), Notes()), CachedValue(orders)
    cached = await order.get()

    async def refuse_elsewhere() -> None:
        await trio.sleep(0.5)
        order.refuse(cached)
        await order.get()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse_elsewhere)
        with pytest.raises(TokenRefusedError):
            await caller.authorized(order, build, read)
    assert desk.tokens == ["token-1", "token-2", "token-3"]


async def test_a_token_is_replaced_also_where_nothing_is_retried(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders = Desk(httpx.Response(401), httpx.Response(200, content=b"ok")), Orders()
    assert await call(answered_by(desk), orders, Notes(), attempts=1) == b"ok"


async def test_failures_in_between_give_no_more_fresh_tokens(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders = Desk(httpx.Response(401), httpx.Response(503), httpx.Response(401)), Orders()
    with pytest.raises(TokenRefusedError):
        await call(answered_by(desk), orders, Notes())
    assert desk.tokens == ["token-1", "token-2", "token-2"]


async def test_those_who_share_a_token_share_the_fresh_ones(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, orders = Desk(httpx.Response(401)), Orders(delay=1.0)

    async def in_a_second(request: httpx.Request) -> httpx.Response:
        await trio.sleep(1.0)
        return desk(request)

    caller, order = ApiClient(ApiTransport(answered_by(in_a_second)), Retrier(attempts=4), Notes()), CachedValue(orders)

    async def ask() -> None:
        with pytest.raises(TokenRefusedError):
            await caller.authorized(order, build, read)

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(ask)
    assert orders.count == 2
    assert len(desk.tokens) == 64


async def test_a_good_token_is_kept_while_the_archive_is_busy(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk = Desk(httpx.Response(503, headers={"Retry-After": "5"}), httpx.Response(429), httpx.Response(200))
    orders, notes = Orders(), Notes()
    await call(answered_by(desk), orders, notes)
    assert desk.tokens == ["token-1"] * 3
    assert notes.retries == [(OverloadedError, 7.5), (OverloadedError, 2.0)]
    assert trio.current_time() == 9.5


async def test_a_no_is_a_no(answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock) -> None:
    desk, notes = Desk(httpx.Response(403)), Notes()
    with pytest.raises(RefusedError):
        await call(answered_by(desk), Orders(), notes)
    assert len(desk.tokens) == 1
    assert notes.retries == []


async def test_a_wait_beyond_all_patience_is_a_no(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk = Desk(httpx.Response(503, headers={"Retry-After": "86400"}))
    with pytest.raises(OverloadedError):
        await call(answered_by(desk), Orders(), Notes())
    assert len(desk.tokens) == 1


async def test_calls_without_a_work_order_are_repeated_likewise(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    desk, notes = Desk(httpx.Response(502), httpx.Response(200, content=b"ok")), Notes()
    retrier = Retrier(attempts=2, backoff=Backoff(base=1), uniform=lambda: 0.5)
    caller = ApiClient(ApiTransport(answered_by(desk)), retrier, notes)
    assert await caller.call(lambda: build("fixed"), read) == b"ok"
    assert desk.tokens == ["fixed", "fixed"]
    assert trio.current_time() == 0.5


async def test_a_fetch_of_the_token_that_fails_fails_the_call(
    answered_by: Callable[[Handler], httpx.AsyncClient],
) -> None:
    async def no_order() -> Expiring[WorkOrderToken]:
        raise BrokenError("No orders today.")

    desk = Desk(httpx.Response(200))
    caller = ApiClient(ApiTransport(answered_by(desk)), Retrier(attempts=2), Notes())
    with pytest.raises(BrokenError, match="No orders today"):
        await caller.authorized(CachedValue(no_order), build, read)
    assert desk.tokens == []


@pytest.mark.parametrize(("times", "told"), [(1, []), (2, [(BrokenError, 2.0)])])
async def test_a_collision_is_repeated_in_silence_and_told_when_it_is_none(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock, times: int, told: list[Any]
) -> None:
    collided = httpx.Response(500, json={"exception_id": "internalError"})
    desk, notes = Desk(*[collided] * times, httpx.Response(200, content=b"ok")), Notes()
    assert await call(answered_by(desk), Orders(), notes) == b"ok"
    assert notes.retries == told
    assert trio.current_time() == sum(delay for _, delay in told)
