"""Fetch a URL in parts, several at a time, and write them at their place: what the bulk transport alone can do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import trio

from connector.http import BulkTransport

MIB = 1 << 20


async def main(arguments: argparse.Namespace) -> None:
    async with httpx.AsyncClient(transport=BulkTransport(), timeout=60) as client:
        async with client.stream("GET", arguments.url, headers={"Range": "bytes=0-0"}) as reply:
            total = int(reply.headers["content-range"].rpartition("/")[2])
        descriptor = os.open(arguments.target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        part = arguments.part * MIB
        starts = iter(range(0, total, part))
        async with trio.open_nursery() as nursery:
            for _ in range(arguments.connections):
                nursery.start_soon(fetch, client, arguments.url, starts, part, total, descriptor)
        os.close(descriptor)


async def fetch(
    client: httpx.AsyncClient, url: str, starts: Iterator[int], part: int, total: int, descriptor: int
) -> None:
    buffer = memoryview(bytearray(part))
    for start in starts:
        stop = min(start + part, total)
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        reply = await client.get(url, headers=headers, extensions={"sink": buffer})
        assert reply.extensions["received"] == stop - start
        await trio.to_thread.run_sync(os.pwrite, descriptor, buffer[: stop - start], start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--part", type=int, default=16, help="MiB")
    parser.add_argument("url")
    parser.add_argument("target", type=Path)
    trio.run(main, parser.parse_args())
