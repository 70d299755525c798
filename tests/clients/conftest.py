from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from connector.clients.exchange import ApiReply
from connector.http.client import HttpClient

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
async def answered_by() -> AsyncIterator[Callable[[Handler], HttpClient]]:
    """Make a client whose requests a function of the test answers."""
    clients: list[HttpClient] = []

    def make(handler: Handler) -> HttpClient:
        clients.append(HttpClient(httpx.MockTransport(handler)))  # type: ignore[arg-type]
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
