"""How the steps of transfers run: in threads, in order, concurrently, and again after an error.

The error tells whether to try again; the retry loop decides how often and when.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import attrs
import trio

from connector.errors import ConnectorError, UsageError
from connector.transfer.reporting import GuardedObserver, Observer
from persistence.threads import gil_yielder

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
Notify = Callable[[ConnectorError, float], None]


def _ignore(error: ConnectorError, delay: float) -> None:
    return


@attrs.frozen
class Backoff:
    """Exponential backoff with full jitter: a random wait between 0 and `base * 2**tries`, at most `cap` seconds.

    Source: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    base: float = 0.5
    cap: float = 30.0

    def wait_requested(self, asked: float, uniform: Callable[[], float]) -> float:
        """Seconds to wait when the server requested `asked` seconds (`Retry-After`): never less.

        Clients that were refused at the same time get the same `Retry-After`. Full jitter of half that wait, between
        `base` and `cap` seconds, keeps them from retrying at the same time.
        """
        return asked + min(max(asked / 2, self.base), self.cap) * uniform()

    def wait(self, tries: int, uniform: Callable[[], float]) -> float:
        """Seconds to wait after `tries` failures (1 or more); `uniform` returns random numbers from [0, 1)."""
        ceiling = min(self.cap, self.base * 2.0 ** min(tries - 1, 60))
        # Never 0: a failure that takes no time would otherwise be repeated in a tight loop.
        return max(ceiling * uniform(), min(self.base, self.cap) * 0.1)


_SHORTEST_POLL, _LONGEST_POLL = 1.0, 60.0


def polling_pause(waited: float, left: float, cost: float, uniform: Callable[[], float]) -> float:
    """Seconds until the next request about something that may take minutes or days.

    A tenth of the time waited so far, between 1 and 60 s: the result is noticed late by that share of the wait at most,
    and a long wait takes few requests.

    Args:
        waited: Seconds waited so far.
        left: Seconds until the wait times out, before which there is a last request.
        cost: Seconds that the last request took; the pause is at least as long.
        uniform: Returns random numbers from [0, 1), by which the jobs of one batch are spread.
    """
    pause = min(_LONGEST_POLL, max(_SHORTEST_POLL, waited / 10)) * (0.75 + 0.25 * uniform())
    return min(max(pause, cost), max(_SHORTEST_POLL, left / 2))


_MOST_LIMITED = 4
"""How many times `attempts` a request is tried at most that a limit of the rate refuses while it admits others."""


@attrs.frozen
class Retrier:
    """Runs a step until it succeeds, its error advises against a retry, or `attempts` tries are used.

    `backoff` computes the waits unless the error states one. A wait that the server requests is kept, with some jitter,
    if it is at most `longest_wait` seconds; a longer one ends the retries. `uniform` returns random numbers from
    [0, 1).
    """

    attempts: int = 10
    backoff: Backoff = attrs.field(factory=Backoff)
    longest_wait: float = 600.0
    uniform: Callable[[], float] = random.random

    async def run(
        self,
        step: Callable[[], Awaitable[T]],
        *,
        notify: Notify = _ignore,
        made_progress: Callable[[], bool] = lambda: False,
        answered: Callable[[], int] = lambda: 0,
    ) -> T:
        """Run `step` and return its result; `notify` is called for each failure that is retried.

        `made_progress` is called after each failure: if that try moved more than all before, the tries are counted from
        one again, since a connection that is closed repeatedly, but moves some bytes each time, completes eventually.
        `answered` counts requests that were answered, of other tasks too: a server that limits their rate and answers
        some of them gets to the others. That is bounded, too, by `_MOST_LIMITED` times as many tries.

        Raises:
            ConnectorError: The last one, with the advice not to try again, for the loops above.
        """
        tries, counted, renewed = 0, 0, False
        before: int | None = None
        while True:
            try:
                return await step()
            except ConnectorError as error:
                progressed = made_progress()
                tries = 1 if progressed else tries + 1
                is_served = error.advice.rate_limited and before not in (None, answered())
                counted = 1 if progressed or is_served else counted + 1
                before = answered()
                over = max(counted, tries / _MOST_LIMITED) >= self.attempts
                delay = None if over else self._delay(error, tries, renewed, progressed)
                renewed = error.advice.after == 0
                if delay is None:
                    if not error.advice.again:
                        raise
                    raise error.with_advice(attrs.evolve(error.advice, again=False)) from error.__cause__
                notify(error, delay)
            await trio.sleep(delay)

    def _delay(self, error: ConnectorError, tries: int, renewed: bool, progressed: bool) -> float | None:
        """Seconds until the next try, `None` for no further one; `renewed`: the last was made at once."""
        if not error.advice.again:
            return None
        after = error.advice.after
        if error.advice.rate_limited:
            # With little jitter the waits of 8 retries add up to more than the minute that such limits count by.
            wait = self.backoff.wait(tries, lambda: 0.75 + self.uniform() / 4)
            asked = self.requested_delay(after or 0.0)
            return None if asked is None else max(wait, asked) if after else wait
        if after is None or (after == 0 and renewed):
            # "At once" suits an expired token or a closed connection; twice in a row, something else is wrong.
            # A connection that is closed each time, but makes progress, gets the shortest wait.
            return self.backoff.wait(tries, self.uniform if after is None or not progressed else lambda: 0.0)
        return self.requested_delay(after) if after else 0.0

    def requested_delay(self, seconds: float) -> float | None:
        """Seconds to wait when the server requests so many, `None` if that is too long."""
        return self.backoff.wait_requested(seconds, self.uniform) if seconds <= self.longest_wait else None


_THREADS = max(4, (os.cpu_count() or 2) + 2)
"""Threads that read, seal, hash and write: some wait for the disk while others compute."""


def make_threads() -> trio.CapacityLimiter:
    """The threads for the blocking work of one run."""
    return trio.CapacityLimiter(_THREADS)


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

    threads: trio.CapacityLimiter = attrs.field(factory=make_threads)
    observer: GuardedObserver = attrs.field(converter=_guarded)
    part_size: int
    uniform: Callable[[], float] = random.random

    async def in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run `work`, which blocks, in one of the threads, also beside a task that never idles."""
        with gil_yielder():
            return await trio.to_thread.run_sync(work, *arguments, limiter=self.threads)


class Sequencer:
    """Runs steps 1, 2, 3, ... in this order, whatever order they arrive in, as the digest of a file requires.

    `next` is the number of the step that runs next.
    """

    def __init__(self) -> None:
        self.next = 1
        self._waiting: dict[int, trio.Event] = {}

    def is_done(self, number: int) -> bool:
        """Whether this step has run: a part that is moved again must not be counted twice."""
        return number < self.next

    async def wait(self, number: int) -> None:
        """Wait until `number` is next, without running it."""
        while number > self.next:
            await self._waiting.setdefault(number, trio.Event()).wait()

    @asynccontextmanager
    async def in_order(self, number: int) -> AsyncIterator[None]:
        """Wait until `number` is next; leaving the block without an exception makes the following step next.

        A step that has run before enters at once; see `is_done`.
        """
        await self.wait(number)
        yield
        if number < self.next:
            return  # a part that is moved again: the following step is next already
        self.next = number + 1
        event = self._waiting.pop(self.next, None)
        if event is not None:
            event.set()


async def run_concurrently(*steps: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run all steps at once and return their results in the given order.

    A step that fails does not stop the others; when all have ended, the first error in the given order is raised, not
    in a group.
    """
    results: list[Any] = [None] * len(steps)
    errors: dict[int, ConnectorError] = {}

    async def run(number: int) -> None:
        try:
            results[number] = await steps[number]()
        except ConnectorError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(steps)):
            nursery.start_soon(run, number)
    if errors:
        raise errors[min(errors)]
    return results


def check_in_trio(name: str, instead: str) -> None:
    """Raise `UsageError` in plain code and under asyncio; `instead` is the advice."""
    if not trio.lowlevel.in_trio_task():
        raise UsageError(f"{name} runs under trio; {instead}.")
