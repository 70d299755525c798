from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiTransport
from connector.transfer import Retrier, SilentObserver

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


class KeptRequests:
    """Keeps the requests of an API client, and answers each with the next of `answers` (status and value)."""

    def __init__(self, answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.sent: list[httpx.Request] = []
        self.api = ApiClient(ApiTransport(answered_by(self._answer)), Retrier(attempts=1), SilentObserver())
        self.token = CachedValue(self._fetch_token)

    def last(self) -> tuple[str, str, str | None]:
        """Method, URL and token of the last request."""
        request = self.sent[-1]
        bearer = request.headers.get("authorization")
        return request.method, str(request.url), bearer and bearer.removeprefix("Bearer ")

    def last_body(self) -> Any:
        return json.loads(self.sent[-1].content) if self.sent[-1].content else None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        status, value = self.answers.pop(0)
        return httpx.Response(status, json=value)

    async def _fetch_token(self) -> Expiring[WorkOrderToken]:
        return Expiring(WorkOrderToken("t"), 30.0)


@pytest.fixture
def requests(answered_by: Callable[[Handler], httpx.AsyncClient]) -> KeptRequests:
    return KeptRequests(answered_by)
