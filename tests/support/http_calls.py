"""Whole requests of an :class:`HttpClient` in one call, for tests of what happens below them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import httpx

from connector.http import HttpClient


@attrs.frozen
class Reply:
    """A response that was read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes


async def get(client: HttpClient, url: str, *headers: tuple[bytes, bytes]) -> Reply:
    """GET, and read all of the body in pieces."""
    response = await client.request("GET", url, headers)
    try:
        return Reply(response.status, response.headers, b"".join([piece async for piece in response]))
    finally:
        response.close()


async def get_into(
    client: HttpClient, url: str, buffer: bytearray | memoryview, on_bytes: Callable[[int], None] | None = None
) -> int:
    """GET, receive the body into ``buffer`` and check that it ends there; returns its size."""
    response = await client.request("GET", url)
    try:
        received = await response.read_into(memoryview(buffer), on_bytes)
        assert await response.read_some() == b""
        return received
    finally:
        response.close()


async def put(
    client: HttpClient, url: str, body: bytes | memoryview, on_bytes: Callable[[int], None] | None = None
) -> Reply:
    """PUT ``body``."""
    response = await client.request("PUT", url, (), memoryview(body), on_bytes)
    try:
        return Reply(response.status, response.headers, await response.read_error())
    finally:
        response.close()
