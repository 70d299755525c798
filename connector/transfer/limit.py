"""The algorithm that finds how many parts to move at once; the scheduler applies the limit."""

from __future__ import annotations

from collections import deque

import attrs

_MAX_PAUSE_FACTOR = 16
"""Upper bound of a pause, as a multiple of the first one, when one step after the other fails."""
_NOISE = 0.01
"""Share of the goodput that a step down may cost and still count as no loss: less than can be measured."""
_ROUNDS_LATER = 4
"""Rounds for which a step is measured once the first climb is over."""
_ROUNDS_TO_CONFIRM = 2
"""Rounds for which the previous limit is measured again to confirm a doubling."""
_CLEAR_GAIN = 1.7
"""Factor of the goodput with which a doubled limit is accepted at once."""
_COLLAPSE = 0.7
"""Share of the goodput below which the step is not the cause: the capacity of the line has changed."""
_STEP_DIVISOR = 4
"""A small step is the limit divided by this."""
_HEADROOM = 0.5
_HEADROOM_AT_FIRST = 0.3
"""Share of its greatest possible gain or loss that a step must have for a higher limit to be tried: later, and in the
first climb."""
_SMOOTHING = 0.3
"""Weight of the newest round in the running mean of the goodput while no step is being tried."""
_SLICES, _BEST_RANK = 5, 3
"""Each round at the first limit is also measured in slices. Its capacity is taken to be the third best of the slices of
the last two rounds, since transfers may stall at the start."""


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput, with a multiplicative decrease when the server reports overload (AIMD).

    Goodput (bytes per second over all connections) is measured in rounds. A step up is kept, and followed by another,
    if it gains at least `gain` (a small step: half of its possible gain). A step down is kept if it loses nothing, so
    that the limit settles at the lowest value with the best goodput and does not drift upwards on noise. A doubling
    with a moderate gain is confirmed: it is kept only if the goodput falls again at the previous limit, since machines
    and lines change by themselves, and a higher limit takes memory. So is the first doubling if the first limit,
    which is measured in one round only, had slices nearly as good. If the first step up loses much, both are measured
    again, once. A step that is reverted is followed by a pause of `patience` seconds (longer each time), then by one
    in the other direction. Goodput is a concave function of the limit: where a step gained or lost little, the next
    one up gains less. So higher limits than ever tried, which take more memory, are tried only if the last step had a
    good part of its possible effect, and by small steps once the first climb is over. A refusal for load (429, 503,
    timeout) multiplies the limit by `backoff`, or reverts a step up that is being tried, and keeps it below that limit
    for `ceiling_seconds` (longer each time this is confirmed). Times are seconds of any one clock.
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
    _upwards: bool = attrs.field(default=True, init=False)
    _limit_before: int | None = attrs.field(default=None, init=False)
    _goodput_before: float = attrs.field(default=0.0, init=False)
    _unconfirmed: tuple[int, float] | None = attrs.field(default=None, init=False)
    _goodput: float | None = attrs.field(default=None, init=False)
    _pause: float | None = attrs.field(default=None, init=False)
    _paused_until: float = attrs.field(default=float("-inf"), init=False)
    _remeasured: bool = attrs.field(default=False, init=False)
    _highest: int = attrs.field(default=0, init=False)
    _slices: deque[tuple[int, int]] = attrs.field(factory=lambda: deque(maxlen=2 * _SLICES), init=False)
    _has_headroom: bool = attrs.field(default=True, init=False)
    _ceiling: int | None = attrs.field(default=None, init=False)
    _ceiling_hold: float = attrs.field(default=0.0, init=False)
    _ceiling_until: float = attrs.field(default=0.0, init=False)
    _last_refusal: float | None = attrs.field(default=None, init=False)
    _draining: bool = attrs.field(default=False, init=False)

    @classmethod
    def fixed(cls, limit: int) -> ConcurrencyLimit:
        """A limit that never changes."""
        return cls(minimum=limit, maximum=limit, limit=limit)

    def advanced(self, size: int, now: float, *, in_flight: int) -> int:
        """`size` more bytes went through while `in_flight` parts moved; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        if in_flight > self.limit:  # parts that were started under a higher limit are still in flight
            self._settling = True
            self._begin_round(now)
            return self.limit
        self._draining = False
        if self._round_start is None:
            self._round_start = now
        self._round_bytes += size
        if not self._highest:
            self._count_slice(size, now)
        elapsed = now - self._round_start
        if elapsed >= self.round_seconds * self._rounds():
            # Only rounds that used the whole limit say something about it (cf. Netflix's AIMDLimit).
            if in_flight == self.limit:
                self._evaluate_round(self._round_bytes / elapsed, now)
            self._begin_round(now)
        return self.limit

    def refused(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        # Several refusals may report the same congestion event, and while more parts are in flight than the limit
        # allows, another refusal says nothing about the limit.
        ignored_for = self.patience if self._draining else self.round_seconds
        if self._last_refusal is not None and now - self._last_refusal < ignored_for:
            return self.limit
        self._last_refusal, self._draining = now, True
        ceiling = max(self.limit - 1, self.minimum)
        proven = ceiling == self._ceiling
        self._ceiling_hold = min(2 * self._ceiling_hold, _MAX_PAUSE_FACTOR * self.ceiling_seconds) if proven else 0.0
        self._ceiling_hold = self._ceiling_hold or self.ceiling_seconds
        self._ceiling, self._ceiling_until = ceiling, now + self._ceiling_hold
        good = self._limit_before if self._upwards and self._limit_before is not None else 0
        self.limit = max(self.minimum, min(ceiling, max(good, int(self.limit * self.backoff))))
        self._limit_before, self._unconfirmed, self._goodput = None, None, None
        self._upwards, self._settling = True, True
        self._pause, self._paused_until, self._has_headroom = None, now, True
        self._begin_round(now)
        return self.limit

    def _rounds(self) -> int:
        """For how many rounds the present limit is measured before it is evaluated."""
        if self._settling:
            return 1
        if self._unconfirmed is not None:
            return _ROUNDS_TO_CONFIRM
        return _ROUNDS_LATER if self._limit_before is not None and self._pause is not None else 1

    def _count_slice(self, size: int, now: float) -> None:
        number = int(now / self.round_seconds * _SLICES)
        if self._slices and self._slices[-1][0] == number:
            size += self._slices.pop()[1]
        self._slices.append((number, size))

    def _peak_goodput(self) -> float:
        """Goodput of the best slices of the first limit; 0 once the step after it was evaluated."""
        best = sorted((size for _, size in self._slices), reverse=True)
        self._slices.clear()
        return best[_BEST_RANK - 1] * _SLICES / self.round_seconds if len(best) >= _BEST_RANK else 0.0

    def _begin_round(self, now: float) -> None:
        self._round_start, self._round_bytes = now, 0

    def _evaluate_round(self, goodput: float, now: float) -> None:
        if self._settling:
            self._settling = False  # the first round at a new limit still has the connections of the old one
        elif self._unconfirmed is not None:
            self._confirm(self._unconfirmed, goodput, now)
        elif self._limit_before is None:
            mean = self._goodput if self._goodput is not None else goodput
            self._goodput = mean + _SMOOTHING * (goodput - mean)
            if now >= self._paused_until:
                self._try_step(self._goodput, now)
        elif self._is_kept(goodput, self._limit_before):
            self._has_headroom = self._shows_headroom(goodput, self._limit_before)
            peak = max(self._goodput_before, self._peak_goodput())
            if self._upwards and self.limit >= 2 * self._limit_before and goodput < _CLEAR_GAIN * peak:
                self._unconfirmed = self.limit, goodput
                self.limit, self._limit_before, self._settling = self._limit_before, None, True
                return
            self._limit_before = None
            self._reset_pause()
            self._try_step(goodput, now)
        else:
            # Many lines are fast for a second and slower from then on (token buckets): measured again, but only once.
            collapsed = self._pause is None and not self._remeasured and goodput < _COLLAPSE * self._goodput_before
            self._remeasured = collapsed or self._remeasured
            self._has_headroom = collapsed or self._shows_headroom(goodput, self._limit_before)
            self.limit, self._limit_before, self._settling = self._limit_before, None, True
            self._slices.clear()
            if collapsed:
                self._goodput = None
            else:
                self._goodput = self._goodput_before
                self._reverse(now)

    def _confirm(self, unconfirmed: tuple[int, float], goodput: float, now: float) -> None:
        """Evaluate a second `goodput` of the previous limit: return to the doubled one, or stay."""
        doubled, seen = unconfirmed
        self._unconfirmed = None
        if seen >= goodput * (1 + self.gain):
            self._has_headroom = self._has_headroom and seen >= goodput * (1 + _HEADROOM_AT_FIRST)
            self.limit, self._goodput, self._settling = doubled, None, True
            self._reset_pause()
        else:
            self._goodput = goodput
            self._reverse(now)

    def _reset_pause(self) -> None:
        if self._pause is not None:
            self._pause = self.patience

    def _is_kept(self, goodput: float, before: int) -> bool:
        wanted = min(self.gain, 0.5 * (self.limit / before - 1)) if self._upwards else -_NOISE
        return goodput >= self._goodput_before * (1 + wanted)

    def _shows_headroom(self, goodput: float, before: int) -> bool:
        """Whether the step from `before` gained, or lost, a good part of what a step of its size can."""
        most, fewest = max(self.limit, before), min(self.limit, before)
        more, less = (goodput, self._goodput_before) if self._upwards else (self._goodput_before, goodput)
        share = _HEADROOM_AT_FIRST if self._pause is None else _HEADROOM
        return more >= less * (1 + share * (most / fewest - 1))

    def _try_step(self, goodput: float, now: float) -> None:
        """Try one step in the present direction; if there is none, pause and reverse the direction."""
        if self._upwards:
            held = self._ceiling is not None and now < self._ceiling_until
            top = min(self.maximum, self._ceiling) if held and self._ceiling is not None else self.maximum
            target = min(top, 2 * self.limit if self._ceiling is None else self.limit + 1)
            if target > self._highest and not self._has_headroom:
                target = min(target, max(self.limit, self._highest))
            elif target > self._highest and self._pause is not None:
                target = min(target, max(self.limit + max(self.limit // _STEP_DIVISOR, 1), self._highest))
        else:
            target = max(self.minimum, self.limit - max(self.limit // _STEP_DIVISOR, 1))
        if target == self.limit or (target > self.limit) is not self._upwards:
            self._reverse(now)
            return
        self._limit_before, self._goodput_before, self._goodput = self.limit, goodput, None
        self.limit, self._settling = target, True
        self._highest = max(self._highest, target)

    def _reverse(self, now: float) -> None:
        self._pause = self.patience if self._pause is None else min(2 * self._pause, _MAX_PAUSE_FACTOR * self.patience)
        self._paused_until, self._upwards = now + self._pause, not self._upwards
