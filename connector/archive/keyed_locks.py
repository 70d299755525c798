"""Locks by key: steps about one thing come one after the other, others go on beside them."""

from __future__ import annotations

from weakref import WeakValueDictionary

import trio


class KeyedLocks:
    """One lock for each key, kept only as long as a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    def __getitem__(self, key: str) -> trio.Lock:
        """The lock of this key, for ``async with``."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = trio.Lock()
        return lock
