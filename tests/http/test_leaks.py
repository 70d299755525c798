"""Requests that are cancelled at any moment leave nothing behind."""

from __future__ import annotations

import random
import ssl

import httpx
import pytest
import trio

from connector.http import BufferStream, BulkTransport
from tests.support.scripted_server import Peer, response

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_cancelled_at_random_moments(serve, server_tls, authority, tls):
    rng = random.Random(6)
    body = rng.randbytes(400_000)

    async def scene(peer: Peer) -> None:
        while head := await peer.head():
            if head.startswith(b"PUT"):
                await peer.body(len(body))
                await peer.send(response("200 OK"))
            else:
                await peer.send(response("200 OK", body), step=50_000)

    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = await serve(scene, ssl_context=server_tls if tls else None)
    completed = 0
    async with BulkTransport(max_connections=5, ssl_context=context) as transport:

        async def once(client: httpx.AsyncClient, upload: bool, patience: float) -> None:
            nonlocal completed
            with trio.move_on_after(patience):
                if upload:
                    await client.put(server.url, content=BufferStream(memoryview(body)))
                else:
                    sink = bytearray(len(body))
                    await client.get(server.url, extensions={"sink": sink})
                    assert sink == body, "a connection must not carry on where another request was cancelled"
                completed += 1

        async with httpx.AsyncClient(transport=transport, timeout=10) as client:
            async with trio.open_nursery() as nursery:
                for _ in range(120):
                    nursery.start_soon(once, client, rng.random() < 0.5, rng.expovariate(1 / 0.15))
            assert transport.pool.in_use == 0
            assert 0 < completed < 120
            with trio.fail_after(5):
                while server.open != transport.pool.idle:
                    await trio.sleep(0.01)
    with trio.fail_after(5):
        while server.open:
            await trio.sleep(0.01)
