"""What stays the same during a run, handed over once instead of through every layer."""

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
    """What all transfers of a run share.

    `threads` bounds the threads for blocking work; `observer` is told of what happens; `part_size` is the size of
    parts in bytes that was asked for; `uniform` draws from [0, 1).
    """

    threads: trio.CapacityLimiter
    observer: GuardedObserver = attrs.field(converter=_guarded)
    part_size: int
    uniform: Callable[[], float] = random.random

    async def in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run `work`, which blocks, in one of the threads, also beside a task that never idles."""
        with gil_yielder():
            return await trio.to_thread.run_sync(work, *arguments, limiter=self.threads)
