"""Fetch a URL in parts, several at a time, and write each at its offset: what the object client alone can do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import trio

from connector.clients.objects import HttpObjectClient, ObjectClient
from connector.http import HttpClient, HttpOptions

MIB = 1 << 20


async def main(arguments: argparse.Namespace) -> None:
    async with aclosing(HttpClient(HttpOptions())) as http:
        reply = await http.api.get(arguments.url, headers={"Range": "bytes=0-0"})
        total = int(reply.headers["content-range"].rpartition("/")[2])
        descriptor = os.open(arguments.target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        part = arguments.part * MIB
        starts = iter(range(0, total, part))
        async with trio.open_nursery() as nursery:
            for _ in range(arguments.connections):
                nursery.start_soon(fetch, HttpObjectClient(http), arguments.url, starts, part, total, descriptor)
        os.close(descriptor)


async def fetch(objects: ObjectClient, url: str, starts: Iterator[int], part: int, total: int, descriptor: int) -> None:
    buffer = memoryview(bytearray(part))
    for start in starts:
        received = await objects.fetch_into(url, start, min(start + part, total), buffer, lambda _: None)
        await trio.to_thread.run_sync(os.pwrite, descriptor, buffer[:received], start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--part", type=int, default=16, help="MiB")
    parser.add_argument("url")
    parser.add_argument("target", type=Path)
    trio.run(main, parser.parse_args())
