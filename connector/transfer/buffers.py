"""Memory for parts: a byte budget, and buffers that are reused."""

from __future__ import annotations

import mmap
import sys
from bisect import insort
from collections import deque
from contextlib import suppress
from operator import attrgetter
from typing import Any

import attrs
import trio

from connector.errors import LocalError
from connector.parts import memory_budget

_ALLOCATION_UNIT = 64 * 1024


@attrs.define(eq=False)
class Buffer:
    """A buffer in use; `view` has exactly the requested size."""

    memory: mmap.mmap
    view: memoryview
    in_use: bool = True

    @property
    def capacity(self) -> int:
        """Bytes that this buffer counts against the budget."""
        return len(self.memory)


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for memory."""

    size: int
    granted: trio.Event = attrs.field(factory=trio.Event)
    buffer: Buffer | None = None
    error: LocalError | None = None


_by_capacity = attrgetter("capacity")


class BufferPool:
    """Hands out buffers of `budget` bytes in total; further tasks wait in a queue.

    A part that is larger than the budget gets its buffer when no other is in use: while it moves, the budget is its
    size.

    Buffers are anonymous memory maps: pages that a small part never touches take no memory, and freed memory is
    returned to the system. The pool does not grow with the number or size of files.

    Attributes:
        budget: Bytes that all buffers may take in total, unless a single one takes more.
        allocated: Bytes in use or kept for reuse.
    """

    def __init__(self, budget: int, *, platform: str = sys.platform) -> None:
        self.budget = budget
        self._platform = platform
        self.allocated = 0
        self._free: list[Buffer] = []
        self._waiting: deque[_Waiter] = deque()

    async def acquire(self, size: int) -> Buffer:
        """Return a buffer of `size` bytes; waits while the budget is used up.

        Raises:
            LocalError: If the system cannot allocate the memory.
        """
        if not self._waiting:
            buffer = self._allocate(size)
            if buffer is not None:
                return buffer
        waiter = _Waiter(size)
        self._waiting.append(waiter)
        try:
            await waiter.granted.wait()
        except trio.Cancelled:
            if waiter.buffer is not None:
                self.release(waiter.buffer)
            elif waiter.error is None:
                self._waiting.remove(waiter)
                self._grant_waiting()  # the next waiter may want less
            raise
        if waiter.error is not None:
            raise waiter.error
        assert waiter.buffer is not None
        return waiter.buffer

    def release(self, buffer: Buffer) -> None:
        """Return a buffer to the pool; its view must not be used after that.

        If the view is still referenced (by the frames of a traceback), the memory is freed with the last reference
        instead of being reused.
        """
        if not buffer.in_use:
            raise RuntimeError("a buffer was released twice")  # two parts would share its memory
        buffer.in_use = False
        try:
            buffer.view.release()
        except BufferError:
            self.allocated -= buffer.capacity
            self._grant_waiting()
            return
        buffer.view = memoryview(b"")
        insort(self._free, buffer, key=_by_capacity)
        self._grant_waiting()

    def close(self) -> None:
        """Return all free memory to the system."""
        for buffer in self._free:
            self._free_memory(buffer)
        self._free.clear()

    def _allocate(self, size: int) -> Buffer | None:
        for position, buffer in enumerate(self._free):
            # A buffer that is much too large is kept for a part that needs it.
            if buffer.capacity >= size and buffer.capacity <= max(4 * size, _ALLOCATION_UNIT):
                del self._free[position]
                buffer.view, buffer.in_use = memoryview(buffer.memory)[:size], True
                return buffer
        capacity = -(-max(size, 1) // _ALLOCATION_UNIT) * _ALLOCATION_UNIT
        budget = memory_budget(self.budget, size)
        capacity = min(capacity, budget)
        while self._free and self.allocated + capacity > budget:
            self._free_memory(self._free.pop())
        if self.allocated + capacity > budget:
            return None
        memory = _new_map(capacity, self._platform)
        self.allocated += capacity
        return Buffer(memory, memoryview(memory)[:size])

    def _free_memory(self, buffer: Buffer) -> None:
        self.allocated -= buffer.capacity
        # A slice may still be referenced (by a traceback, say); the memory is then freed with the last of them.
        with suppress(BufferError):
            buffer.memory.close()

    def _grant_waiting(self) -> None:
        """Hand memory to the waiters in strict order of arrival.

        A part may hold memory while it waits for the part before it, so a later waiter must never get the last memory
        that an earlier one waits for.
        """
        while self._waiting:
            waiter = self._waiting[0]
            try:
                waiter.buffer = self._allocate(waiter.size)
            except LocalError as error:
                waiter.error = error
            if waiter.buffer is None and waiter.error is None:
                return
            self._waiting.popleft()
            waiter.granted.set()


def _new_map(size: int, platform: str) -> mmap.mmap:
    """A private anonymous map. Python's default is a shared one, whose page faults and copies take longer."""
    private: dict[str, Any] = {}
    if sys.platform != "win32" and platform != "win32":
        private["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        return mmap.mmap(-1, size, **private)
    except (OSError, MemoryError) as error:
        raise LocalError(
            f"This machine cannot allocate memory for a part of {size:,} bytes.",
            hint="Allow more (ulimit -v), or choose a smaller --part-size if the file allows it.",
        ) from error
