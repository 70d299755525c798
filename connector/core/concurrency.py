"""The algorithm that finds how many parts to move at once. It decides; the scheduler hands out the places."""

from __future__ import annotations

import attrs


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput, with a multiplicative step down when the other side refuses (AIMD).

    Goodput (bytes per second over all connections) is measured in rounds. While a step up brings more, the limit
    goes on growing; a step that brought less than ``gain`` is taken back, and the limit rests for ``patience``
    seconds before it asks again. A refusal for load (429, 503, timeout) cuts the limit by ``backoff`` at once and
    holds it below that height for ``ceiling_seconds``. Times are seconds of any one clock, passed in.
    """

    minimum: int = 1
    maximum: int = 16
    limit: int = 4
    gain: float = 0.1
    backoff: float = 0.7
    round_seconds: float = 0.5
    patience: float = 20.0
    ceiling_seconds: float = 60.0

    _round_start: float | None = attrs.field(default=None, init=False)
    _round_bytes: int = attrs.field(default=0, init=False)
    _settling: bool = attrs.field(default=True, init=False)
    _goodput_before: float = attrs.field(default=0.0, init=False)
    _limit_before: int | None = attrs.field(default=None, init=False)
    _rest_until: float = attrs.field(default=0.0, init=False)
    _ceiling: int | None = attrs.field(default=None, init=False)
    _ceiling_until: float = attrs.field(default=0.0, init=False)
    _last_refusal: float | None = attrs.field(default=None, init=False)

    @classmethod
    def fixed(cls, limit: int) -> ConcurrencyLimit:
        """A limit that never changes."""
        return cls(minimum=limit, maximum=limit, limit=limit)

    def advanced(self, size: int, now: float, *, in_flight: int) -> int:
        """``size`` more bytes went through while ``in_flight`` parts moved; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        if self._round_start is None:
            self._round_start = now
        self._round_bytes += size
        elapsed = now - self._round_start
        if elapsed >= self.round_seconds:
            # Only rounds that used their places say something about the number of places (cf. Netflix's AIMDLimit).
            if in_flight >= self.limit:
                self._judge(self._round_bytes / elapsed, now)
            self._begin(now)
        return self.limit

    def refused(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        if self._last_refusal is not None and now - self._last_refusal < self.round_seconds:
            return self.limit  # one congestion, many messengers
        self._last_refusal = now
        self._ceiling, self._ceiling_until = max(self.limit - 1, self.minimum), now + self.ceiling_seconds
        self.limit = max(self.minimum, min(self._ceiling, int(self.limit * self.backoff)))
        self._limit_before, self._goodput_before, self._settling = None, 0.0, True
        self._begin(now)
        return self.limit

    def _begin(self, now: float) -> None:
        self._round_start, self._round_bytes = now, 0

    def _judge(self, goodput: float, now: float) -> None:
        if self._settling:
            self._settling = False  # the first round at a new height still holds the old one's connections
            return
        if self._limit_before is not None and goodput < self._goodput_before * (1 + self.gain):
            self.limit, self._limit_before = self._limit_before, None
            self._rest_until, self._settling = now + self.patience, True
            return
        top = self.maximum
        if self._ceiling is not None and now < self._ceiling_until:
            top = min(top, self._ceiling)
        self._limit_before = None
        if now >= self._rest_until and self.limit < top:
            self._limit_before, self._goodput_before, self._settling = self.limit, goodput, True
            self.limit = min(top, self.limit * 2 if self._ceiling is None else self.limit + 1)
