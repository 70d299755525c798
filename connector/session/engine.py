"""The scheduler and its limits, for sessions and for work on local files."""

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

_MAXIMUM = 32
"""Enough for 320 MB/s with 10 per connection; parts of the default size are bounded by the memory first."""
_INITIAL = 4
_FAR = 600
"""Parts of the slow start, times the square of the round trip in seconds: far away each connection is slower, and the
search takes longer. Of smaller parts, more, with as many bytes."""
_MINIMUM = 2
"""However many requests are refused: one stalled connection must not block everything."""
_CORES = os.cpu_count() or 2
_THREADS = max(4, _CORES + 2)
"""Threads that read, seal, hash and write: some wait for the disk while others compute."""


def make_threads() -> trio.CapacityLimiter:
    """The threads for blocking work of one session."""
    return trio.CapacityLimiter(_THREADS)


@contextmanager
def open_scheduler(
    settings: Settings,
    retrier: Retrier,
    observer: Observer,
    limit: ConcurrencyLimit,
    *,
    first: int | None = None,
    round_trip: Callable[[], float] = lambda: 0.0,
) -> Iterator[Scheduler]:
    """A scheduler with the memory of the settings, and their concurrency if it is set, otherwise `limit`.

    `first`: transfers that request a slot before it is known how many the archive allows. `round_trip` returns that of
    the line in seconds.
    """
    if settings.max_concurrency is not None:
        limit = ConcurrencyLimit.fixed(settings.max_concurrency)
    pool = BufferPool(settings.memory)
    scheduler = Scheduler(
        pool=pool, limit=limit, retrier=retrier, observer=observer, first=first, round_trip=round_trip
    )
    try:
        yield scheduler
    finally:
        scheduler.close()
        pool.close()


def network_limit(settings: Settings, round_trip: float) -> ConcurrencyLimit:
    """A limit that adapts to line and archive, within the memory for buffers.

    `round_trip` of the line in seconds: at 0.1 s and more a slow start leads higher.
    """
    most = max(_INITIAL, min(_MAXIMUM, settings.memory // settings.part_size))
    first = min(int(_FAR * round_trip**2), most)
    threshold = first * settings.part_size if first > _INITIAL else 0
    return ConcurrencyLimit(minimum=_MINIMUM, maximum=most, limit=_INITIAL, threshold=threshold)


def local_limit() -> ConcurrencyLimit:
    """One part per core, and one more that waits for the disk."""
    return ConcurrencyLimit.fixed(min(_CORES + 1, _MAXIMUM))


def planned_files(
    files: Iterable[tuple[str, Path]], moved: Callable[[int], int] = lambda size: size
) -> list[tuple[str, int | None]]:
    """The label of each local file, and the bytes that will be moved if its size is known. Blocks."""
    return [(label, None if size is None else moved(size)) for label, size in ((label, _size(p)) for label, p in files)]


def _size(path: Path) -> int | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None  # the file's own outcome will report why
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_size else None
