"""Memory for parts: a byte budget, and buffers that are used again."""

from __future__ import annotations

import mmap
from bisect import insort
from collections import deque
from contextlib import suppress
from operator import attrgetter

import attrs
import trio

from connector.errors import LocalError
from connector.parts import fit_memory

_GRAIN = 64 * 1024


@attrs.define(eq=False)
class Buffer:
    """One piece of memory on loan; `view` has exactly the size that was asked for."""

    memory: mmap.mmap
    view: memoryview

    @property
    def capacity(self) -> int:
        """Bytes that this buffer counts against the budget."""
        return len(self.memory)


@attrs.define(eq=False)
class _Place:
    """A place in the line for memory."""

    size: int
    served: trio.Event = attrs.field(factory=trio.Event)
    buffer: Buffer | None = None
    error: LocalError | None = None


_by_capacity = attrgetter("capacity")


class BufferPool:
    """Lends buffers as long as all of them together stay within `budget` bytes; who comes later waits in line.

    A part that is larger than the whole budget is lent its buffer when nothing else is lent: while it moves, the
    budget is its size.

    Buffers are anonymous memory maps: pages that a small part never touches cost nothing, and memory that is given
    up goes back to the system. The pool does not grow with the number or size of files.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._allocated = 0
        self._free: list[Buffer] = []
        self._waiting: deque[_Place] = deque()

    @property
    def allocated(self) -> int:
        """Bytes in use or kept for reuse."""
        return self._allocated

    @property
    def budget(self) -> int:
        """Bytes that all buffers together may take, while no single one takes more."""
        return self._budget

    async def acquire(self, size: int) -> Buffer:
        """Borrow a buffer of `size` bytes; waits while the budget is used up.

        Raises:
            LocalError: If the system has no such memory.
        """
        if not self._waiting:
            buffer = self._try(size)
            if buffer is not None:
                return buffer
        place = _Place(size)
        self._waiting.append(place)
        try:
            await place.served.wait()
        except trio.Cancelled:
            if place.buffer is not None:
                self.release(place.buffer)
            elif place.error is None:
                self._waiting.remove(place)
                self._serve()  # the next in line may want less
            raise
        if place.error is not None:
            raise place.error
        assert place.buffer is not None
        return place.buffer

    def release(self, buffer: Buffer) -> None:
        """Give a buffer back; nobody may use its view after that.

        Where something still does (frames that an exception kept), the memory goes with that, not to the next.
        """
        try:
            buffer.view.release()
        except BufferError:
            self._allocated -= buffer.capacity
            self._serve()
            return
        buffer.view = memoryview(b"")
        insort(self._free, buffer, key=_by_capacity)
        self._serve()

    def close(self) -> None:
        """Give all free memory back to the system."""
        for buffer in self._free:
            self._drop(buffer)
        self._free.clear()

    def _try(self, size: int) -> Buffer | None:
        for position, buffer in enumerate(self._free):
            # Much too large a buffer is left for a part that needs it, unless memory is short.
            if buffer.capacity >= size and buffer.capacity <= max(4 * size, _GRAIN):
                del self._free[position]
                buffer.view = memoryview(buffer.memory)[:size]
                return buffer
        capacity = -(-max(size, 1) // _GRAIN) * _GRAIN
        budget = fit_memory(self._budget, size)
        capacity = min(capacity, budget)
        while self._free and self._allocated + capacity > budget:
            self._drop(self._free.pop())
        if self._allocated + capacity > budget:
            return None
        memory = _new_map(capacity)
        self._allocated += capacity
        return Buffer(memory, memoryview(memory)[:size])

    def _drop(self, buffer: Buffer) -> None:
        self._allocated -= buffer.capacity
        # Somebody may still hold a slice (a traceback, say); the memory then goes with the last of them.
        with suppress(BufferError):
            buffer.memory.close()

    def _serve(self) -> None:
        """Hand memory to those in line, first come first served.

        Strictly so, and directly: a part may hold memory while it waits for the part before it, so one that came
        later must never get the last memory that an earlier one waits for.
        """
        while self._waiting:
            place = self._waiting[0]
            try:
                place.buffer = self._try(place.size)
            except LocalError as error:
                place.error = error
            if place.buffer is None and place.error is None:
                return
            self._waiting.popleft()
            place.served.set()


def _new_map(size: int) -> mmap.mmap:
    """An anonymous map of our own. Python's default is a shared one, whose pages are files of the kernel's: each first
    touch of them takes longer, and so does each copy.
    """
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}  # not on Windows
    try:
        return mmap.mmap(-1, size, **private)
    except (OSError, MemoryError) as error:
        raise LocalError(
            f"This machine has no memory for a part of {size:,} bytes.",
            hint="Allow more (ulimit -v), or choose a smaller --part-size if the file allows it.",
        ) from error
