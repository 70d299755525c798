"""The one retry loop, and how long it waits. An error says whether to try again; this decides how often and when."""

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

    def wait_asked(self, asked: float, uniform: Callable[[], float]) -> float:
        """Seconds to wait when the other side asked for `asked` of them (`Retry-After`): never less.

        All who were refused at the same moment were asked for the same wait, and would come back at the same moment
        too: so they spread, with full jitter, over half as long again, over `base` seconds at least and `cap` at
        most.
        """
        return asked + min(max(asked / 2, self.base), self.cap) * uniform()

    def wait(self, tries: int, uniform: Callable[[], float]) -> float:
        """Seconds to wait after `tries` failures (1 or more); `uniform` draws from [0, 1)."""
        ceiling = min(self.cap, self.base * 2.0 ** min(tries - 1, 60))
        # Never quite nothing: a failure that costs no time would else be repeated in a tight loop.
        return max(ceiling * uniform(), min(self.base, self.cap) * 0.1)


@attrs.frozen
class Polling:
    """How often to ask for what takes as long as it takes, minutes or days.

    Each pause is a `share` of the time waited so far, between `shortest` and `longest` seconds: so what has come
    is noticed late by that share of the wait at most, and a long wait costs few requests.
    """

    share: float = 0.1
    shortest: float = 1.0
    longest: float = 60.0

    def pause(self, waited: float, left: float, cost: float, uniform: Callable[[], float]) -> float:
        """Seconds until the next question.

        `waited`: seconds so far; `left`: those until the wait times out, before which there is a last question;
        `cost`: those that the last question took, for which the archive is left alone at least. `uniform` draws
        from [0, 1): jobs of one batch spread over a quarter of the pause.
        """
        pause = min(self.longest, max(self.shortest, self.share * waited)) * (0.75 + 0.25 * uniform())
        return min(max(pause, cost), max(self.shortest, left / 2))


@attrs.frozen
class Retrier:
    """Runs a step until it succeeds, its error says to give up, or `attempts` tries are used.

    `backoff` gives the waits where the error names none. A wait that the other side asks for is kept, and made a
    little longer by chance, if it is at most `longest_wait` seconds; one longer than that is taken for a no.
    `uniform` draws from [0, 1).
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
        """Run `step` and return its result; `notify` is told of each failure that is tried again.

        `made_progress` is asked after each failure whether that try moved more than all before: then the tries are
        counted from one again, since a connection that is closed again and again, but moves something each time, gets
        to the end.
        Raises the last `ConnectorError` with the advice not to try again, for the loops above.
        """
        tries = 0
        renewed = False
        while True:
            try:
                return await step()
            except ConnectorError as error:
                farther = made_progress()
                tries = 1 if farther else tries + 1
                delay = self._delay(error, tries, renewed, farther)
                renewed = error.advice.after == 0
                if delay is None:
                    if not error.advice.again:
                        raise
                    raise error.with_advice(attrs.evolve(error.advice, again=False)) from error.__cause__
                notify(error, delay)
            await trio.sleep(delay)

    def _delay(self, error: ConnectorError, tries: int, renewed: bool, farther: bool) -> float | None:
        """Seconds until the next try, `None` for no further one; `renewed`: the last came at once."""
        if not error.advice.again or tries >= self.attempts:
            return None
        after = error.advice.after
        if after is None or (after == 0 and renewed):
            # "At once" suits an expired token or a closed connection; twice in a row, something else is wrong.
            # A connection that is always closed, and yet moves something, gets the shortest wait.
            return self.backoff.wait(tries, self.uniform if after is None or not farther else lambda: 0.0)
        return self.asked_delay(after) if after else 0.0

    def asked_delay(self, seconds: float) -> float | None:
        """Seconds to wait when the other side asks for so many, `None` if that is too long to wait at all."""
        return self.backoff.wait_asked(seconds, self.uniform) if seconds <= self.longest_wait else None
