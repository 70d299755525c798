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
