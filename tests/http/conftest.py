from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
import trio
import trustme

from connector.http import HttpClient, HttpOptions
from tests.support.scripted_server import Scene, ScriptedServer

Serve = Callable[..., Awaitable[ScriptedServer]]


@pytest.fixture
async def serve(nursery: trio.Nursery) -> Serve:
    """Start a scripted server that lives as long as the test."""

    async def start(*scenes: Scene, ssl_context: ssl.SSLContext | None = None) -> ScriptedServer:
        server: ScriptedServer = await nursery.start(ScriptedServer(*scenes, ssl_context=ssl_context).run)
        return server

    return start


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with aclosing(HttpClient(HttpOptions(max_connections=4, connect_timeout=60, read_timeout=60))) as client:
        yield client
        assert client.pool.in_use == 0, "a request left its slot taken"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
