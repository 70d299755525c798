"""The retry loop and its waits. An error tells whether to try again; the loop decides how often and when."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from connector.errors import ConnectorError

T = TypeVar("T")
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


@attrs.frozen
class Polling:
    """How often to poll for something that may take minutes or days.

    Each pause is a `share` of the time waited so far, between `shortest` and `longest` seconds: the result is noticed
    late by that share of the wait at most, and a long wait takes few requests.
    """

    share: float = 0.1
    shortest: float = 1.0
    longest: float = 60.0

    def pause(self, waited: float, left: float, cost: float, uniform: Callable[[], float]) -> float:
        """Seconds until the next request.

        Args:
            waited: Seconds waited so far.
            left: Seconds until the wait times out, before which there is a last request.
            cost: Seconds that the last request took; the pause is at least as long.
            uniform: Returns random numbers from [0, 1), by which the jobs of one batch are spread.
        """
        pause = min(self.longest, max(self.shortest, self.share * waited)) * (0.75 + 0.25 * uniform())
        return min(max(pause, cost), max(self.shortest, left / 2))


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
    ) -> T:
        """Run `step` and return its result; `notify` is called for each failure that is retried.

        `made_progress` is called after each failure: if that try moved more than all before, the tries are counted from
        one again, since a connection that is closed repeatedly, but moves some bytes each time, completes eventually.

        Raises:
            ConnectorError: The last one, with the advice not to try again, for the loops above.
        """
        tries = 0
        renewed = False
        while True:
            try:
                return await step()
            except ConnectorError as error:
                progressed = made_progress()
                tries = 1 if progressed else tries + 1
                delay = self._delay(error, tries, renewed, progressed)
                renewed = error.advice.after == 0
                if delay is None:
                    if not error.advice.again:
                        raise
                    raise error.with_advice(attrs.evolve(error.advice, again=False)) from error.__cause__
                notify(error, delay)
            await trio.sleep(delay)

    def _delay(self, error: ConnectorError, tries: int, renewed: bool, progressed: bool) -> float | None:
        """Seconds until the next try, `None` for no further one; `renewed`: the last was made at once."""
        if not error.advice.again or tries >= self.attempts:
            return None
        after = error.advice.after
        if after is None or (after == 0 and renewed):
            # "At once" suits an expired token or a closed connection; twice in a row, something else is wrong.
            # A connection that is closed each time, but makes progress, gets the shortest wait.
            return self.backoff.wait(tries, self.uniform if after is None or not progressed else lambda: 0.0)
        return self.requested_delay(after) if after else 0.0

    def requested_delay(self, seconds: float) -> float | None:
        """Seconds to wait when the server requests so many, `None` if that is too long."""
        return self.backoff.wait_requested(seconds, self.uniform) if seconds <= self.longest_wait else None
