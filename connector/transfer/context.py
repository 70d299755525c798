"""The context that all transfers of a run share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from connector.transfer.observer import GuardedObserver, Observer
from persistence.threads import gil_yielder

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def _guarded(observer: Observer) -> GuardedObserver:
    return GuardedObserver.of(observer)


@attrs.frozen(kw_only=True)
class RunContext:
    """What all transfers of a run share; passed to each as one value.

    Attributes:
        threads: Bounds the threads for blocking work.
        observer: Receives the events of transfers.
        part_size: The requested size of parts in bytes.
        uniform: Returns random numbers from [0, 1).
    """

    threads: trio.CapacityLimiter
    observer: GuardedObserver = attrs.field(converter=_guarded)
    part_size: int
    uniform: Callable[[], float] = random.random

    async def in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run `work`, which blocks, in one of the threads, also beside a task that never idles."""
        with gil_yielder():
            return await trio.to_thread.run_sync(work, *arguments, limiter=self.threads)
