"""The scheduler with its bounds, as a session and as work on this machine use it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from connector.config import Settings
from connector.transfer import BufferPool, Observer, Retrier, Scheduler
from connector.transfer.limit import ConcurrencyLimit

_MOST_AT_ONCE = 32
"""Enough for 320 MB/s where each connection gets 10; parts of the usual size stop at what the memory holds."""
_AT_FIRST = 4
_AT_LEAST = 2
"""However much is refused: one stalled connection must not hold up all the others."""
_CORES = os.cpu_count() or 2
_THREADS = max(4, _CORES + 2)
"""Threads that read, seal, hash and write: some wait for the disk while others compute."""


def make_threads() -> trio.CapacityLimiter:
    """The threads for blocking work of one session."""
    return trio.CapacityLimiter(_THREADS)


@contextmanager
def open_scheduler(
    settings: Settings, retrier: Retrier, observer: Observer, limit: ConcurrencyLimit, *, first: int | None = None
) -> Iterator[Scheduler]:
    """A scheduler with the memory of the settings; a concurrency given there is fixed, otherwise `limit` finds it.

    `first`: transfers that ask to be opened before it is known how many the other side allows.
    """
    if settings.max_concurrency is not None:
        limit = ConcurrencyLimit.fixed(settings.max_concurrency)
    pool = BufferPool(settings.memory)
    scheduler = Scheduler(pool=pool, limit=limit, retrier=retrier, observer=observer, first=first)
    try:
        yield scheduler
    finally:
        scheduler.close()
        pool.close()


def network_limit(settings: Settings) -> ConcurrencyLimit:
    """A limit that adapts to line and archive; a quarter of the memory is left for the program itself."""
    most = max(_AT_FIRST, min(_MOST_AT_ONCE, settings.memory * 3 // 4 // settings.part_size))
    return ConcurrencyLimit(minimum=_AT_LEAST, maximum=most, limit=_AT_FIRST)


def local_limit() -> ConcurrencyLimit:
    """As many parts as cores work on, and one that waits for the disk."""
    return ConcurrencyLimit.fixed(min(_CORES + 1, _MOST_AT_ONCE))


def planned_files(
    files: Iterable[tuple[str, Path]], moved: Callable[[int], int] = lambda size: size
) -> list[tuple[str, int | None]]:
    """The label of each local file, and how many bytes will be moved of it if that can be told by its size. Blocks."""
    return [(label, None if size is None else moved(size)) for label, size in ((label, _size(p)) for label, p in files)]


def _size(path: Path) -> int | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None  # the file's own outcome will tell why
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_size else None
