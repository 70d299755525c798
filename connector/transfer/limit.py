"""The algorithm that finds how many parts to move at once; the scheduler applies the limit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator

import attrs

_CLEAR, _HEADROOM, _NOISE = 0.5, 0.3, 0.01
"""Shares of the gain that a step has where goodput grows like the limit: with the first it is accepted at once, with
the second a higher one is tried. The last is the share of the goodput that a step down may cost, as it is noise."""
_RISING, _COLLAPSED = 1.1, 0.7
"""Factors of goodput from one round to the next: windows are still opening; the line itself has changed."""
_LATER_ROUNDS, _LATER_DIVISOR, _DOUBLED_BELOW, _MAX_PAUSE_FACTOR, _SMOOTHING = 4, 4, 6, 16, 0.3
_OPENING = 8
"""Round trips after which a new connection's window is open: handshake, request, and doublings from 64 KiB to 4 MiB."""
_Rounds = Generator[None, float, float]


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput, with a multiplicative decrease when the server reports overload (AIMD).

    Goodput (bytes per second over all connections) is measured in rounds of `round_seconds`, at least two round trips
    of the line, and compared once it has settled: when it rises no longer, since the windows of new connections are
    open. The limit doubles, from 6 on grows by a half, while that gains most of what it can. A smaller gain counts only
    against the limit before, measured again: lines and machines get faster by themselves, and a higher limit takes
    memory. Then a step down (kept if it loses nothing) and a step up are tried in turn, after pauses of `patience`
    seconds, longer each time that nothing is gained. Goodput is a concave function of the limit: after a step of little
    effect none leads higher than before. A refusal for load (429, 503, timeout) multiplies the limit by `backoff`, or
    reverts a step up, and bounds it for `ceiling_seconds`, longer each time this is confirmed. Times are seconds of any
    one clock.
    """

    minimum: int = 1
    maximum: int = 16
    limit: int = 4
    gain: float = 0.05
    backoff: float = 0.7
    round_seconds: float = 0.5
    patience: float = 20.0
    ceiling_seconds: float = 60.0
    _search: Generator[None, float, None] | None = attrs.field(default=None, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _round_trip: float = attrs.field(default=0.0, init=False)
    _moved: int = attrs.field(default=0, init=False)
    _round: tuple[float, int] | None = attrs.field(default=None, init=False)  # when it began; bytes moved before
    _slice: tuple[float, int] = attrs.field(default=(0.0, 0), init=False)
    _slices: deque[float] = attrs.field(factory=lambda: deque(maxlen=10), init=False)
    _good: int = attrs.field(default=0, init=False)  # the limit before a step up that is being tried
    _ceiling: tuple[int, float, float] | None = attrs.field(default=None, init=False)  # limit, seconds, until when
    _last_refusal: float = attrs.field(default=-math.inf, init=False)
    _draining: bool = attrs.field(default=False, init=False)

    @classmethod
    def fixed(cls, limit: int) -> ConcurrencyLimit:
        """A limit that never changes."""
        return cls(minimum=limit, maximum=limit, limit=limit)

    def advanced(self, size: int, now: float, *, in_flight: int, round_trip: float = 0.0) -> int:
        """`size` more bytes went through while `in_flight` parts moved; returns the limit from now on."""
        if self.minimum == self.maximum:
            return self.limit
        self._now, self._round_trip = now, round_trip
        self._moved += size
        if in_flight > self.limit or self._round is None:  # parts that were started under a higher limit still move
            self._round = self._slice = now, self._moved
            return self.limit
        self._draining = False
        (began, before), (slice_began, before_slice) = self._round, self._slice
        if now - slice_began >= max(self.round_seconds / 5, 4 * round_trip):
            self._slices.append((self._moved - before_slice) / (now - slice_began))
            self._slice = now, self._moved
        if now - began >= max(self.round_seconds, 2 * round_trip):
            self._round = now, self._moved
            # Only rounds that used the whole limit say something about it (cf. Netflix's AIMDLimit).
            if in_flight == self.limit:
                if self._search is None:
                    self._search = self._climb()
                    next(self._search)
                self._search.send((self._moved - before) / (now - began))
                if self.limit != in_flight:
                    self._slices.clear()
        return self.limit

    def refused(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        # Several refusals may report the same congestion event, and while more parts are in flight than the limit
        # allows, another refusal says nothing about the limit.
        ignored_for = self.patience if self._draining else self.round_seconds
        if self.minimum == self.maximum or now - self._last_refusal < ignored_for:
            return self.limit
        self._last_refusal, self._draining = now, True
        ceiling, (known, held, _) = max(self.limit - 1, self.minimum), self._ceiling or (0, 0.0, 0.0)
        hold = min(2 * held, _MAX_PAUSE_FACTOR * self.ceiling_seconds) if ceiling == known else self.ceiling_seconds
        self._ceiling = ceiling, hold, now + hold
        self.limit = max(self.minimum, min(ceiling, max(self._good, int(self.limit * self.backoff))))
        self._search, self._round, self._good = None, None, 0
        return self.limit

    def _climb(self) -> Generator[None, float, None]:
        """All steps from the first limit on; receives the goodput of each round."""
        up, pause, headroom, remeasured, highest = True, 0.0, True, False, self.limit
        base = yield from self._settled()
        while True:
            # A limit can do what the third best of its last ten slices of a round did, since transfers may stall.
            before, peak = self.limit, max(base, sorted([0.0, *self._slices])[3 * len(self._slices) // -10])
            target = self.limit = self._next(up, pause > 0, self.maximum if headroom else max(before, highest))
            kept, found, again, highest = False, base, base, max(highest, target)
            most = max(target, before) / min(target, before) - 1  # a step of this size gains or loses no more
            if target > before:
                self._good, enough = before, peak * (1 + _CLEAR * most)
                found, self._good = (yield from self._settled(enough)), 0
                if found < enough:
                    self.limit = before
                    again = yield from self._settled()
                    if again < _COLLAPSED * base and not remeasured:  # fast for its first second, as token buckets are
                        base, remeasured = again, True
                        continue
                kept = found >= max(again, base) * (1 + min(self.gain, most / 2))
                headroom = found >= max(again, base) * (1 + _HEADROOM * most)
            elif target < before:
                found = yield from self._settled(rounds=_LATER_ROUNDS)
                kept, headroom = found >= base * (1 - _NOISE), base >= found * (1 + most / 2)
                up = found > base / _COLLAPSED
            self.limit, base = (target, found) if kept else (before, again)
            if not kept:
                up, pause = not up, min(2 * pause or self.patience, _MAX_PAUSE_FACTOR * self.patience)
                rested = yield from self._rest(base, self._now + pause)
                up, base = up or rested > base / _COLLAPSED, rested
            pause = min(pause, self.patience) if kept else pause

    def _next(self, up: bool, later: bool, most: int) -> int:
        """The limit after a step."""
        step = max(self.limit // _LATER_DIVISOR, 1)
        first = self.limit if self.limit < _DOUBLED_BELOW else self.limit // 2
        if not up:
            return max(self.minimum, self.limit - step)
        ceiling, _, until = self._ceiling or (self.maximum, 0.0, 0.0)
        top = min(most, ceiling) if self._now < until else most
        return max(min(self.limit + (1 if self._ceiling else step if later else first), top), self.limit)

    def _settled(self, enough: float = math.inf, rounds: int = 1) -> _Rounds:
        """The goodput of the present limit once it rises no longer, or is enough."""
        earliest = self._now + _OPENING * self._round_trip
        seen = [(yield)]  # the first round still has the connections of the limit before
        while True:
            highest = max(seen)
            for _ in range(rounds):
                seen.append((yield))
            goodput = sum(seen[-rounds:]) / rounds
            if goodput >= enough or (goodput <= _RISING * highest and self._now >= earliest):
                return goodput

    def _rest(self, goodput: float, until: float) -> _Rounds:
        """The mean goodput of the present limit, the newest rounds most, when the time has come or it has leapt up."""
        changed = goodput / _COLLAPSED
        while self._now < until and goodput <= changed:
            goodput += _SMOOTHING * ((yield) - goodput)
        return goodput
