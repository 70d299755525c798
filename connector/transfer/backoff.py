"""How long to wait before the next try."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.frozen
class Backoff:
    """Exponential backoff with full jitter: a random wait between 0 and ``base * 2**tries``, at most ``cap`` seconds.

    Source: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    base: float = 0.5
    cap: float = 30.0

    def wait_asked(self, asked: float, uniform: Callable[[], float]) -> float:
        """Seconds to wait when the other side asked for ``asked`` of them (``Retry-After``): never less.

        All who were refused at the same moment were asked for the same wait, and would come back at the same moment
        too: so they spread, with full jitter, over half as long again, over ``base`` seconds at least and ``cap`` at
        most.
        """
        return asked + min(max(asked / 2, self.base), self.cap) * uniform()

    def wait(self, tries: int, uniform: Callable[[], float]) -> float:
        """Seconds to wait after ``tries`` failures (1 or more); ``uniform`` draws from [0, 1)."""
        ceiling = min(self.cap, self.base * 2.0 ** min(tries - 1, 60))
        # Never quite nothing: a failure that costs no time would else be repeated in a tight loop.
        return max(ceiling * uniform(), min(self.base, self.cap) * 0.1)


@attrs.frozen
class Polling:
    """How often to ask for what takes as long as it takes, minutes or days.

    Each pause is a ``share`` of the time waited so far, between ``shortest`` and ``longest`` seconds: so what has come
    is noticed late by that share of the wait at most, and a long wait costs few requests.
    """

    share: float = 0.1
    shortest: float = 1.0
    longest: float = 60.0

    def pause(self, waited: float, left: float, cost: float, uniform: Callable[[], float]) -> float:
        """Seconds until the next question.

        ``waited``: seconds so far; ``left``: those until the wait times out, before which there is a last question;
        ``cost``: those that the last question took, for which the archive is left alone at least. ``uniform`` draws
        from [0, 1): jobs of one batch spread over a quarter of the pause.
        """
        pause = min(self.longest, max(self.shortest, self.share * waited)) * (0.75 + 0.25 * uniform())
        return min(max(pause, cost), max(self.shortest, left / 2))
