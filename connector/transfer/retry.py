"""The one retry loop. Errors say whether to try again; this decides how often and how long to wait."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from connector.errors import ConnectorError
from connector.transfer.backoff import Backoff

T = TypeVar("T")
Notify = Callable[[ConnectorError, float], None]


def _ignore(error: ConnectorError, delay: float) -> None:
    return


@attrs.frozen
class Retrier:
    """Runs a step until it succeeds, its error says to give up, or ``attempts`` tries are used.

    ``backoff`` gives the waits where the error names none. A wait that the other side asks for is kept, and made a
    little longer by chance, if it is at most ``longest_wait`` seconds; one longer than that is taken for a no.
    ``uniform`` draws from [0, 1).
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
        """Run ``step`` and return its result; ``notify`` is told of each failure that is tried again.

        ``got_farther`` is asked after each failure whether that try got farther than all before: then the count of
        tries begins anew, since a line that is cut again and again, but brings something each time, comes to the end.
        Raises the last :class:`~connector.errors.ConnectorError` with the advice not to try again, for the loops above.
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
        """Seconds until the next try, ``None`` for no further one; ``renewed``: the last came at once."""
        if not error.advice.again or tries >= self.attempts:
            return None
        after = error.advice.after
        if after is None or (after == 0 and renewed):
            # "At once" holds for a lease that ran out or a line that was cut; twice in a row, something else is wrong.
            # A line that is cut all the time, and yet brings something, only needs not to be pelted.
            return self.backoff.wait(tries, self.uniform if after is None or not farther else lambda: 0.0)
        return self.asked_delay(after) if after else 0.0

    def asked_delay(self, seconds: float) -> float | None:
        """Seconds to wait when the other side asks for so many, ``None`` if that is too long to wait at all."""
        return self.backoff.wait_asked(seconds, self.uniform) if seconds <= self.longest_wait else None
