from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from connector.clients.api_transport import ApiReply

Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]
Reply = Callable[..., ApiReply]


@pytest.fixture
def reply() -> Reply:
    """Write down an answer of an API: its status, its body (bytes, or a value to send as JSON), its headers."""

    def make(status: int, body: Any = b"", **headers: str) -> ApiReply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return ApiReply(
            status, {name.replace("_", "-"): value for name, value in headers.items()}, data, "https://a.test"
        )

    return make


@pytest.fixture
async def answered_by() -> AsyncIterator[Callable[[Handler], httpx.AsyncClient]]:
    """Make a client whose requests a function of the test answers."""
    clients: list[httpx.AsyncClient] = []

    def make(handler: Handler) -> httpx.AsyncClient:
        transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
        clients.append(httpx.AsyncClient(transport=transport, timeout=None, trust_env=False))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
