"""The algorithm that finds how many parts to move at once. It decides; the scheduler hands out the places."""

from __future__ import annotations

from collections import deque

import attrs

_LONGEST = 16
"""How many times as long as at first a wait becomes at most, when trial after trial fails."""
_NOTHING = 0.01
"""Share of the goodput that a step down may cost and still be said to cost nothing: less than can be measured."""
_CAREFUL = 4
"""How many times as long a step is watched once the first climb is over, when there is time to be sure."""
_TWICE = 2
"""The same for a height that is gone back to in doubt."""
_CLEAR = 1.7
"""Times the goodput that a doubled height must bring to be believed at once."""
_COLLAPSED = 0.7
"""Share of the goodput below which a step up is not to blame: the line itself has changed."""
_SMALL = 4
"""A small step is this part of the height."""
_WORTH = 0.5
_WORTH_AT_FIRST = 0.3
"""Share of what a step could bring or cost at most that it must have, to say that a greater height is worth a trial:
later, when there is time to be sure, and in the first climb."""
_NEWEST = 0.3
"""Weight of the newest round in the running mean of the goodput at rest."""
_SLICES, _BEST = 5, 3
"""The first height is also watched in so many slices of each round. It can do what the third best of the slices of the
last two rounds brought, even if nothing moved for half of the time."""


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput, with a multiplicative step down when the other side refuses (AIMD).

    Goodput (bytes per second over all connections) is measured in rounds. A step up is kept, and followed by another,
    if it brought at least `gain` (of a small step half of what it could bring); a step down is kept if it cost
    nothing, so that the limit ends at the lowest height with the best goodput and does not drift upwards on noise. A
    doubling that brought something, but not nearly twice as much, is kept only if the goodput falls again where it
    came from: machines and lines get slower and faster by themselves, and each height takes memory for good. So is the
    first doubling if the height before it, which is measured in one round only, had moments nearly as good; and if the
    first step up seems to bring much less than nothing, both are measured anew, once. A step
    that is taken back is followed by `patience` seconds of rest (longer each time), then by one in the other
    direction. Goodput over height is a curve that bends down: where a step brought or cost little, the next one up
    brings less. So heights that were never tried, and would take more memory, are tried only where the last step
    brought or cost a good part of what it could, and by small steps once the first climb is over. A refusal for load
    (429, 503, timeout) cuts the limit by `backoff`, or back to where a step on trial came from, and holds it below
    that height for `ceiling_seconds` (longer each time it proves true). Times are seconds of any one clock.
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
    _doubted: tuple[int, float] | None = attrs.field(default=None, init=False)
    _goodput: float | None = attrs.field(default=None, init=False)
    _rest: float | None = attrs.field(default=None, init=False)
    _rest_until: float = attrs.field(default=float("-inf"), init=False)
    _excused: bool = attrs.field(default=False, init=False)
    _highest: int = attrs.field(default=0, init=False)
    _slices: deque[tuple[int, int]] = attrs.field(factory=lambda: deque(maxlen=2 * _SLICES), init=False)
    _worth_more: bool = attrs.field(default=True, init=False)
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
        if in_flight > self.limit:  # parts that were begun at a greater height are still on their way
            self._settling = True
            self._begin(now)
            return self.limit
        self._draining = False
        if self._round_start is None:
            self._round_start = now
        self._round_bytes += size
        if not self._highest:
            self._slice(size, now)
        elapsed = now - self._round_start
        if elapsed >= self.round_seconds * self._rounds():
            # Only rounds that used their places say something about the number of places (cf. Netflix's AIMDLimit).
            if in_flight == self.limit:
                self._judge(self._round_bytes / elapsed, now)
            self._begin(now)
        return self.limit

    def refused(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        # One congestion has many messengers, and while more parts are on their way than the limit now says, another
        # refusal says nothing about the limit.
        quiet = self.patience if self._draining else self.round_seconds
        if self._last_refusal is not None and now - self._last_refusal < quiet:
            return self.limit
        self._last_refusal, self._draining = now, True
        ceiling = max(self.limit - 1, self.minimum)
        proven = ceiling == self._ceiling
        self._ceiling_hold = min(2 * self._ceiling_hold, _LONGEST * self.ceiling_seconds) if proven else 0.0
        self._ceiling_hold = self._ceiling_hold or self.ceiling_seconds
        self._ceiling, self._ceiling_until = ceiling, now + self._ceiling_hold
        good = self._limit_before if self._upwards and self._limit_before is not None else 0
        self.limit = max(self.minimum, min(ceiling, max(good, int(self.limit * self.backoff))))
        self._limit_before, self._doubted, self._goodput, self._upwards, self._settling = None, None, None, True, True
        self._rest, self._rest_until, self._worth_more = None, now, True
        self._begin(now)
        return self.limit

    def _rounds(self) -> int:
        """For how many rounds the present height is watched before it is judged."""
        if self._settling:
            return 1
        if self._doubted is not None:
            return _TWICE
        return _CAREFUL if self._limit_before is not None and self._rest is not None else 1

    def _slice(self, size: int, now: float) -> None:
        number = int(now / self.round_seconds * _SLICES)
        if self._slices and self._slices[-1][0] == number:
            size += self._slices.pop()[1]
        self._slices.append((number, size))

    def _at_best(self) -> float:
        """Goodput of the first height in its better moments; 0 once the step after it was judged."""
        best = sorted((size for _, size in self._slices), reverse=True)
        self._slices.clear()
        return best[_BEST - 1] * _SLICES / self.round_seconds if len(best) >= _BEST else 0.0

    def _begin(self, now: float) -> None:
        self._round_start, self._round_bytes = now, 0

    def _judge(self, goodput: float, now: float) -> None:
        if self._settling:
            self._settling = False  # the first round at a new height still holds the old one's connections
        elif self._doubted is not None:
            self._look_again(self._doubted, goodput, now)
        elif self._limit_before is None:
            mean = self._goodput if self._goodput is not None else goodput
            self._goodput = mean + _NEWEST * (goodput - mean)
            if now >= self._rest_until:
                self._try(self._goodput, now)
        elif self._is_kept(goodput, self._limit_before):
            self._worth_more = self._is_worth(goodput, self._limit_before)
            at_best = max(self._goodput_before, self._at_best())
            if self._upwards and self.limit >= 2 * self._limit_before and goodput < _CLEAR * at_best:
                self._doubted = self.limit, goodput
                self.limit, self._limit_before, self._settling = self._limit_before, None, True
                return
            self._limit_before = None
            self._climbs_on()
            self._try(goodput, now)
        else:
            # Many lines are fast for a second and then slower for good (token buckets). Measured anew, but only once.
            collapsed = self._rest is None and not self._excused and goodput < _COLLAPSED * self._goodput_before
            self._excused = collapsed or self._excused
            self._worth_more = collapsed or self._is_worth(goodput, self._limit_before)
            self.limit, self._limit_before, self._settling = self._limit_before, None, True
            self._slices.clear()
            if collapsed:
                self._goodput = None
            else:
                self._goodput = self._goodput_before
                self._turn(now)

    def _look_again(self, doubted: tuple[int, float], goodput: float, now: float) -> None:
        """Back at the old height with a second `goodput` of it: go up again for good, or stay."""
        height, seen = doubted
        self._doubted = None
        if seen >= goodput * (1 + self.gain):
            self._worth_more = self._worth_more and seen >= goodput * (1 + _WORTH_AT_FIRST)
            self.limit, self._goodput, self._settling = height, None, True
            self._climbs_on()
        else:
            self._goodput = goodput
            self._turn(now)

    def _climbs_on(self) -> None:
        if self._rest is not None:
            self._rest = self.patience

    def _is_kept(self, goodput: float, before: int) -> bool:
        wanted = min(self.gain, 0.5 * (self.limit / before - 1)) if self._upwards else -_NOTHING
        return goodput >= self._goodput_before * (1 + wanted)

    def _is_worth(self, goodput: float, before: int) -> bool:
        """Whether the step from `before` brought, or cost, a good part of what a step of its size can."""
        most, fewest = max(self.limit, before), min(self.limit, before)
        more, less = (goodput, self._goodput_before) if self._upwards else (self._goodput_before, goodput)
        share = _WORTH_AT_FIRST if self._rest is None else _WORTH
        return more >= less * (1 + share * (most / fewest - 1))

    def _try(self, goodput: float, now: float) -> None:
        """Put one step in the present direction on trial; if there is none, rest and turn round."""
        if self._upwards:
            held = self._ceiling is not None and now < self._ceiling_until
            top = min(self.maximum, self._ceiling) if held and self._ceiling is not None else self.maximum
            target = min(top, 2 * self.limit if self._ceiling is None else self.limit + 1)
            if target > self._highest and not self._worth_more:
                target = min(target, max(self.limit, self._highest))
            elif target > self._highest and self._rest is not None:
                target = min(target, max(self.limit + max(self.limit // _SMALL, 1), self._highest))
        else:
            target = max(self.minimum, self.limit - max(self.limit // _SMALL, 1))
        if target == self.limit or (target > self.limit) is not self._upwards:
            self._turn(now)
            return
        self._limit_before, self._goodput_before, self._goodput = self.limit, goodput, None
        self.limit, self._settling = target, True
        self._highest = max(self._highest, target)

    def _turn(self, now: float) -> None:
        self._rest = self.patience if self._rest is None else min(2 * self._rest, _LONGEST * self.patience)
        self._rest_until, self._upwards = now + self._rest, not self._upwards
