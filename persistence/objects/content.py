"""Content on its way into a storage: a buffer or a stream, seen as pieces of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from persistence.objects.protocol import Buffer

PIECE: Final = 4 * 1024**2
"""Bytes handed to a thread at once: enough to make the hop cheap, little enough to be cancelled soon."""


def as_view(data: Buffer) -> memoryview:
    """The buffer as bytes, without a copy."""
    view = memoryview(data)
    return view if view.ndim == 1 and view.itemsize == 1 else view.cast("B")


async def pieces(data: Buffer | AsyncIterable[bytes], size: int = PIECE) -> AsyncIterator[memoryview]:
    """Views of `size` bytes, the last one smaller; small pieces of a stream are gathered first."""
    if isinstance(data, bytes | bytearray | memoryview):
        view = as_view(data)
        for start in range(0, len(view), size):
            yield view[start : start + size]
        return
    gathered = bytearray()
    async for chunk in data:
        if not gathered and len(chunk) == size:
            yield memoryview(chunk)
            continue
        gathered += chunk
        while len(gathered) >= size:
            yield memoryview(bytes(gathered[:size]))
            del gathered[:size]
    if gathered:
        yield memoryview(gathered)


async def gather(data: Buffer | AsyncIterable[bytes]) -> memoryview:
    """The whole content in memory; a buffer is not copied."""
    if isinstance(data, bytes | bytearray | memoryview):
        return as_view(data)
    gathered = bytearray()
    async for chunk in data:
        gathered += chunk
    return memoryview(gathered)
