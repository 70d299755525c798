"""The middleware alone, called without a server."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from connector.archive.request_guard import RequestGuard
from tests.archive.test_storage_routes import messages

pytestmark = pytest.mark.trio

HTTP = {"type": "http", "client": ("127.0.0.1", 1)}


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


async def test_a_refusal_is_sent_when_the_body_has_arrived() -> None:
    taken: list[str] = []
    queue = messages(b"a", b"b")

    async def receive() -> Any:
        taken.append("received")
        return await queue()

    async def send(message: Any) -> None:
        taken.append(message["type"])

    await RequestGuard(refuse, idle_timeout=1)(HTTP, receive, send)
    assert taken == ["received"] * 3 + ["http.response.start", "http.response.body"]


async def test_a_refusal_does_not_wait_for_a_client_that_has_disconnected() -> None:
    async def send(message: Any) -> None:
        pass

    with trio.fail_after(30):
        await RequestGuard(refuse, idle_timeout=60)(HTTP, messages(b"a", end=False), send)


@pytest.mark.parametrize("reads", [True, False])
async def test_a_body_that_stalls_is_answered_with_408(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, reads: bool
) -> None:
    async def read(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def stall() -> Any:
        await trio.sleep(50)
        if trio.current_time() > 200:
            await trio.sleep_forever()
        return {"type": "http.request", "body": b"x", "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guard = RequestGuard(read if reads else refuse, idle_timeout=60)
    nursery.start_soon(guard.enforce)
    await guard(HTTP, stall, send)
    assert 260 <= autojump_clock.current_time() <= 280
    assert [message.get("status") for message in sent] == [408, None]
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_request_that_is_complete_may_take_any_time(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await trio.sleep(1000)
        await refuse(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"

    queue: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
    statuses: list[Any] = []

    async def receive() -> Any:
        await trio.sleep(500 if len(queue) == 1 else 0)
        return queue.pop(0)

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    guard = RequestGuard(slow, idle_timeout=60)
    nursery.start_soon(guard.enforce)
    await guard(HTTP, receive, send)
    assert statuses == [403, None]
