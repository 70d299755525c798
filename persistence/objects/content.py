"""Content of a call: a buffer or a stream, as byte views of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final, TypeAlias

from persistence.errors import InvalidValue
from persistence.objects.values import Buffer

Content: TypeAlias = memoryview | AsyncIterable[bytes]
"""Checked content: the bytes of a buffer, or a stream."""
PIECE: Final = 4 * 1024**2
"""Bytes handed to a thread at once: large enough to outweigh the switch, small enough to be cancelled soon."""


def as_view(data: Buffer, *, writable: bool = False) -> memoryview:
    """The bytes of a buffer in one dimension, without a copy: the length of the view is its size in bytes.

    Args:
        data: bytes, or a buffer of any item size and number of dimensions.
        writable: whether the bytes are going to be changed.

    Raises:
        InvalidValue: it is no buffer, not contiguous, released, or read-only where it must be writable.
    """
    try:
        view = memoryview(data)
        if writable and view.readonly:
            raise TypeError("it is read-only")
        # A view without bytes has no items to be cast.
        return view.cast("B") if view.nbytes else memoryview(bytearray())
    except (TypeError, ValueError, BufferError) as error:
        hint = "Use bytes, a bytearray or a contiguous memoryview, writable if it is to be filled."
        raise InvalidValue(f"This {type(data).__name__} cannot be used as a buffer: {error}.", hint=hint) from error


def as_content(data: Buffer | AsyncIterable[bytes]) -> Content:
    """The bytes of a buffer, or the stream; `InvalidValue` if it is neither."""
    return data if isinstance(data, AsyncIterable) else as_view(data)


async def pieces(content: Content, size: int = PIECE) -> AsyncIterator[memoryview]:
    """Views of `size` bytes, the last one smaller; short pieces of a stream are gathered first."""
    if isinstance(content, memoryview):
        for start in range(0, len(content), size):
            yield content[start : start + size]
        return
    gathered = bytearray()
    async for piece in content:
        view = as_view(piece)
        if not gathered and len(view) == size:
            yield view
            continue
        while (missing := size - len(gathered)) <= len(view):
            gathered += view[:missing]
            yield memoryview(gathered)
            gathered, view = bytearray(), view[missing:]
        gathered += view
    if gathered:
        yield memoryview(gathered)


async def gather(content: Content) -> memoryview:
    """The whole content in memory; a buffer is not copied."""
    if isinstance(content, memoryview):
        return content
    gathered = bytearray()
    async for piece in content:
        gathered += as_view(piece)
    return memoryview(gathered)
