"""A socket that is always ready must not keep other tasks from running."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from connector.http.socket_stream import SocketStream

pytestmark = pytest.mark.trio

SIZE = 64 << 20


class AlwaysReady:
    """A socket whose calls never would block."""

    def recv_into(self, view: memoryview) -> int:
        return min(len(view), 1 << 18)

    def send(self, view: memoryview) -> int:
        return len(view)


@pytest.mark.parametrize("direction", ["in", "out"])
async def test_other_tasks_run_during_a_flood(nursery: trio.Nursery, direction: str) -> None:
    ready: Any = AlwaysReady()
    stream = SocketStream(ready, peer="peer:80", idle_timeout=5)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    nursery.start_soon(tick)
    view = memoryview(bytearray(SIZE))
    if direction == "out":
        await stream.send_all(view)
    else:
        received = 0
        while received < SIZE:
            received += await stream.recv_into(view[received:])
    assert ticks >= 60, "about one for each MiB"
    nursery.cancel_scope.cancel()
