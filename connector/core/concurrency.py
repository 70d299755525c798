"""The algorithm that finds how many parts to move at once. It decides; the scheduler hands out the places."""

from __future__ import annotations

from typing import Literal

import attrs

Outcome = Literal["ok", "dropped", "ignored"]


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput with a multiplicative step down on refusals (AIMD).

    Goodput (bytes per second, all connections together) is measured in rounds. While more connections bring more,
    the limit grows; where the last step up brought less than ``gain``, it goes back and stays for a while before it
    asks again. ``dropped`` (429, 503, timeouts) cuts the limit by ``backoff`` at once and remembers the height as a
    ceiling that is only probed again much later. All times in seconds, passed in.
    """

    minimum: int = 1
    maximum: int = 16
    limit: int = 4
    gain: float = 0.08
    backoff: float = 0.7
    round_seconds: float = 0.5
    patience: float = 15.0
    ceiling_seconds: float = 60.0

    _round_start: float | None = None
    _round_bytes: int = 0
    _round_parts: int = 0
    _round_full: bool = False
    _best: float = 0.0
    _before_step: int = 0
    _stay_until: float = 0.0
    _ceiling: int = 10**9
    _ceiling_until: float = 0.0
    _last_drop: float = -1e9

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to find out."""
        return self.minimum == self.maximum

    def moved(self, size: int, now: float, *, in_flight: int) -> int:
        """A part of ``size`` bytes has arrived; returns the limit from now on."""
        if self.fixed:
            return self.limit
        if self._round_start is None:
            self._begin(now)
            return self.limit
        self._round_bytes += size
        self._round_parts += 1
        self._round_full = self._round_full or in_flight >= self.limit
        elapsed = now - self._round_start
        # A round needs a few parts per connection, or it measures the borders of parts instead of the network.
        if elapsed >= self.round_seconds and self._round_parts >= 2 * self.limit:
            if self._round_full:
                self._judge(self._round_bytes / elapsed, now)
            self._begin(now)
        return self.limit

    def dropped(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        if self.fixed or now - self._last_drop < self.round_seconds:
            return self.limit  # one congestion, many messengers
        self._last_drop = now
        self._ceiling = max(self.limit - 1, self.minimum)
        self._ceiling_until = now + self.ceiling_seconds
        self.limit = max(self.minimum, min(self._ceiling, int(self.limit * self.backoff)))
        self._before_step = 0
        self._best = 0.0
        self._begin(now)
        return self.limit

    def _begin(self, now: float) -> None:
        self._round_start, self._round_bytes, self._round_parts, self._round_full = now, 0, 0, False

    def _judge(self, goodput: float, now: float) -> None:
        if self._before_step and goodput < self._best * (1 + self.gain):
            # The last step up was not worth it.
            self.limit, self._before_step = self._before_step, 0
            self._stay_until = now + self.patience
            return
        self._best = goodput if self._before_step else max(goodput, self._best * 0.9)
        self._before_step = 0
        top = self.maximum if now >= self._ceiling_until else min(self.maximum, self._ceiling)
        if now >= self._stay_until and self.limit < top:
            self._before_step = self.limit
            self.limit = min(top, self.limit + max(1, self.limit // 2))
