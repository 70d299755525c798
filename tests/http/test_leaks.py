"""Requests that are cancelled at any moment leave nothing behind."""

from __future__ import annotations

import math
import random
import ssl
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
import trustme

from connector.http import HttpClient, HttpOptions
from tests.http.conftest import Serve
from tests.support.http_calls import get_into, put
from tests.support.scripted_server import Peer, response

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_cancelled_at_random_moments(
    serve: Serve, server_tls: ssl.SSLContext, authority: trustme.CA, tls: bool, tmp_path: Path
) -> None:
    rng = random.Random(6)
    body = rng.randbytes(400_000)

    async def scene(peer: Peer) -> None:
        while head := await peer.head():
            if head.startswith(b"PUT"):
                await peer.body(len(body))
                await peer.send(response("200 OK"))
            else:
                await peer.send(response("200 OK", body), step=50_000)

    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server = await serve(scene, ssl_context=server_tls if tls else None)
    completed = 0
    async with aclosing(HttpClient(HttpOptions(max_connections=5, read_timeout=10, ca_file=ca_file))) as client:

        async def once(upload: bool, patience: float) -> None:
            nonlocal completed
            with trio.move_on_after(patience):
                if upload:
                    await put(client, server.url, body)
                else:
                    buffer = bytearray(len(body))
                    await get_into(client, server.url, buffer)
                    assert buffer == body, "a connection must not carry on where another request was cancelled"
                completed += 1

        async with trio.open_nursery() as nursery:
            for _ in range(120):
                nursery.start_soon(once, rng.random() < 0.5, rng.expovariate(1 / 0.15))
        assert client.pool.in_use == 0
        assert completed < 120
        await once(upload=True, patience=math.inf)
        assert completed > 0
        with trio.fail_after(30):
            while server.open != client.pool.idle:
                await trio.sleep(0.01)
    with trio.fail_after(30):
        while server.open:
            await trio.sleep(0.01)
