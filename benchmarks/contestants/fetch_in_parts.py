"""Fetch a URL in parts, several at a time, and write them at their place: what a transport alone can do.

With ``--transport bulk`` the bodies go into buffers; with ``httpx`` through httpx's own transport, streamed.
"""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import trio

from connector.clients.bulk import BulkTransport, make_ssl_context

MIB = 1 << 20


async def main(arguments: argparse.Namespace) -> None:
    trusted: ssl.SSLContext | bool = make_ssl_context(arguments.ca_file) if arguments.ca_file else True
    bulk = arguments.transport == "bulk"
    transport: httpx.AsyncBaseTransport = (
        BulkTransport(ssl_context=trusted if isinstance(trusted, ssl.SSLContext) else None)
        if bulk
        else httpx.AsyncHTTPTransport(verify=trusted)
    )
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:
        async with client.stream("GET", arguments.url, headers={"Range": "bytes=0-0"}) as reply:
            total = int(reply.headers["content-range"].rpartition("/")[2])
        descriptor = os.open(arguments.target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        part = arguments.part * MIB
        starts = iter(range(0, total, part))
        worker = into_buffers if bulk else through_httpx
        async with trio.open_nursery() as nursery:
            for _ in range(arguments.connections):
                nursery.start_soon(worker, client, arguments.url, starts, part, total, descriptor)
        os.close(descriptor)


async def into_buffers(
    client: httpx.AsyncClient, url: str, starts: Iterator[int], part: int, total: int, descriptor: int
) -> None:
    buffer = memoryview(bytearray(part))
    for start in starts:
        stop = min(start + part, total)
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        reply = await client.get(url, headers=headers, extensions={"sink": buffer})
        assert reply.extensions["received"] == stop - start
        await trio.to_thread.run_sync(os.pwrite, descriptor, buffer[: stop - start], start)


async def through_httpx(
    client: httpx.AsyncClient, url: str, starts: Iterator[int], part: int, total: int, descriptor: int
) -> None:
    for start in starts:
        position, stop = start, min(start + part, total)
        async with client.stream("GET", url, headers={"Range": f"bytes={start}-{stop - 1}"}) as reply:
            async for piece in reply.aiter_raw(1 << 20):
                await trio.to_thread.run_sync(os.pwrite, descriptor, piece, position)
                position += len(piece)
        assert position == stop


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["bulk", "httpx"], required=True)
    parser.add_argument("--ca-file", type=Path)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--part", type=int, default=16, help="MiB")
    parser.add_argument("url")
    parser.add_argument("target", type=Path)
    trio.run(main, parser.parse_args())
