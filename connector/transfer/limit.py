"""The algorithm that finds how many parts to move at once; the scheduler applies the limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import attrs

_ROUND_SECONDS, _PAUSE_SECONDS, _PAUSE_TRIPS, _CEILING_SECONDS = 0.5, 20.0, 160, 60.0
_CLEAR, _HEADROOM, _LEAST, _LEAST_GAIN, _NOISE = 0.5, 0.3, 0.15, 0.05, 0.01
"""Shares of the gain that a step has where goodput grows like the limit: with the first it is accepted at once, with
the second a higher one is tried, without the third it is reverted: it takes more from others than it brings. Shares of
the goodput: what any step up but the smallest has to bring, and what a step down may cost, as it is noise."""
_RISING, _COLLAPSED = 1.1, 0.7
"""Factors of goodput from one round to the next: windows are still opening; the line itself has changed."""
_LATER_ROUNDS, _LATER_DIVISOR, _DOUBLED_BELOW, _LONGEST, _SMOOTHING = 5, 4, 6, 16, 0.3
_CONNECTING, _OPENING = 2, 8
"""Round trips of a new connection before its first bytes, and until its window is open: from 64 KiB to 4 MiB."""


@attrs.define
class ConcurrencyLimit:
    """Hill climbing on goodput, with a multiplicative decrease when the server reports overload (AIMD).

    It begins with a slow start (cf. RFC 5681): the limit doubles when the last requests are responded to, until parts
    of `threshold` bytes are in flight. Then goodput (bytes per second over all connections) is measured in rounds
    of half a second, at least two round trips of the line, and compared once it has settled: when it rises no longer,
    since the windows of new connections are open. The limit doubles, from 6 on grows by a half, while that gains most
    of what it can. A smaller gain counts only against the limit before, measured again: lines and machines get faster
    by themselves, and a higher limit takes memory. Then a step down (kept if it loses nothing) and a step up are tried
    in turn, after pauses of 20 seconds or 160 round trips, longer each time that nothing is gained. Goodput is a
    concave function of the limit: after a step of little effect none leads higher than before. A refusal for load (429,
    503, timeout) ends the slow start, multiplies the limit by `backoff`, or reverts a step up, and bounds it for a
    minute, longer each time this is confirmed. Times are seconds of any one clock.
    """

    minimum: int = 1
    maximum: int = 16
    limit: int = 4
    threshold: int = 0
    backoff: float = 0.7
    _search: Generator[None, float, None] | None = attrs.field(default=None, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _round_trip: float = attrs.field(default=0.0, init=False)
    _buffered: int = attrs.field(default=0, init=False)
    _moved: int = attrs.field(default=0, init=False)
    _round: tuple[float, int] | None = attrs.field(default=None, init=False)  # when it began; bytes moved before
    _slice: tuple[float, int] = attrs.field(default=(0.0, 0), init=False)
    _slices: deque[float] = attrs.field(factory=lambda: deque(maxlen=10), init=False)
    _good: int = attrs.field(default=0, init=False)  # the limit before a step up that is being tried
    _ceiling: tuple[int, float, float] | None = attrs.field(default=None, init=False)  # limit, seconds, until when
    _last_refusal: float = attrs.field(default=-float("inf"), init=False)
    _draining: bool = attrs.field(default=False, init=False)

    @classmethod
    def fixed(cls, limit: int) -> ConcurrencyLimit:
        """A limit that never changes."""
        return cls(minimum=limit, maximum=limit, limit=limit)

    def advanced(self, size: int, now: float, *, in_flight: int, buffered: int = 0, round_trip: float = 0.0) -> int:
        """`size` more bytes went through while `in_flight` parts of `buffered` bytes moved; returns the limit from now
        on."""
        if self.minimum == self.maximum:
            return self.limit
        self._now, self._round_trip, self._buffered, self._moved = now, round_trip, buffered, self._moved + size
        responded = self._round is None or now - self._round[0] >= _CONNECTING * round_trip
        target = min(2 * self.limit, self.limit * self.threshold // max(buffered, 1), self.maximum)
        if starting := self._search is None and responded and in_flight == self.limit < target:
            self.limit = target
        if starting or in_flight > self.limit or self._round is None:  # or parts of a higher limit are still moved
            self._round = self._slice = now, self._moved
            return self.limit
        self._draining = False
        (began, before), (slice_began, before_slice) = self._round, self._slice
        if now - slice_began >= max(_ROUND_SECONDS / 5, 4 * round_trip):
            self._slices.append((self._moved - before_slice) / (now - slice_began))
            self._slice = now, self._moved
        if now - began >= max(_ROUND_SECONDS, 2 * round_trip):
            self._round = now, self._moved
            # Only rounds that used the whole limit say something about it (cf. Netflix's AIMDLimit).
            if in_flight == self.limit:
                if self._search is None:
                    self._search = self._climb()
                    next(self._search)
                self._search.send((self._moved - before) / (now - began))
        return self.limit

    def refused(self, now: float) -> int:
        """A request was refused for load or timed out; returns the limit from now on."""
        # Several refusals may report the same congestion event, and while more parts are in flight than the limit
        # allows, another refusal says nothing about the limit.
        since = now - self._last_refusal
        if self.minimum == self.maximum or since < (_PAUSE_SECONDS if self._draining else _ROUND_SECONDS):
            return self.limit
        self._last_refusal, self._draining = now, True
        ceiling, (known, held, _) = max(self.limit - 1, self.minimum), self._ceiling or (0, 0.0, 0.0)
        hold = min(2 * held, _LONGEST * _CEILING_SECONDS) if ceiling == known else _CEILING_SECONDS
        self._ceiling = ceiling, hold, now + hold
        self.limit = max(self.minimum, min(ceiling, max(self._good, int(self.limit * self.backoff))))
        self._search, self._round, self._good, self.threshold = None, None, 0, 0
        return self.limit

    def _climb(self) -> Generator[None, float, None]:
        """All steps from the first limit on; receives the goodput of each round."""
        up, pause, headroom, highest, base = True, 0.0, True, self.limit, 0.0
        yield from self._opened(trips=_OPENING - _CONNECTING)
        while True:
            # A limit can do what the third best of its last ten slices of a round did, since transfers may stall.
            before, peak = self.limit, max(base, sorted([0.0, *self._slices])[3 * len(self._slices) // -10])
            self._slices.clear()
            target = self.limit = self._next(up, pause > 0, self.maximum if headroom else max(before, highest))
            most, highest = max(target, before) / min(target, before) - 1, max(highest, target)  # of gain or loss
            kept, found, again = False, 0.0, base
            if target > before:
                self._good = before
                kept = headroom = yield from self._opened(peak * (1 + _CLEAR * most))
                if not kept:
                    found = yield from self._mean()
                    self.limit = before
                    again = yield from self._mean(_LATER_ROUNDS)
                    kept = found >= max(again, base) * (1 + max(min(_LEAST_GAIN, most / 2), _LEAST * most))
                    headroom = found >= max(again, base) * (1 + _HEADROOM * most)
            elif target < before:
                found = yield from self._mean(_LATER_ROUNDS)
                kept, headroom = found >= base * (1 - _NOISE), base >= found * (1 + most / 2)
                up = found > base / _COLLAPSED
            self._good, (self.limit, base) = 0, (target, found) if kept else (before, again)
            if not kept:
                pause = min(pause * (1 if target == before else 2), _LONGEST * _PAUSE_SECONDS)
                up, pause = not up, pause or max(_PAUSE_SECONDS, _PAUSE_TRIPS * self._round_trip)
                rested = yield from self._rest(base, self._now + pause)
                up, base = up or rested > base / _COLLAPSED, rested
            pause = min(pause, _PAUSE_SECONDS) if kept else pause

    def _next(self, up: bool, later: bool, most: int) -> int:
        """The limit after a step."""
        step = max(self.limit // _LATER_DIVISOR, 1) if later else self.limit // (1 + (self.limit >= _DOUBLED_BELOW))
        if not up:
            return max(self.minimum, self.limit - step)
        ceiling, _, until = self._ceiling or (self.maximum, 0.0, 0.0)
        top = min(most, ceiling) if self._now < until else most
        return max(min(self.limit + (1 if self._ceiling else step), top), self.limit)

    def _opened(self, enough: float = float("inf"), trips: int = _OPENING) -> Generator[None, float, bool]:
        """Whether a round was enough, before goodput rises no longer, as the windows of new connections are open."""
        earliest = self._now + trips * self._round_trip
        highest = float("-inf")  # the first round still has the connections of the limit before
        while (goodput := (yield)) < enough:
            if goodput <= _RISING * highest and self._now >= earliest:
                return False
            highest = max(highest, goodput)
        return True

    def _mean(self, rounds: int = 2) -> Generator[None, float, float]:
        """The goodput of the present limit while each part is moved that is in flight: parts that began together end
        together, and are followed by silence."""
        seen, _ = list[float](), (yield)  # of that round, the limit before has a part
        while len(seen) < rounds or sum(seen) * max(_ROUND_SECONDS, 2 * self._round_trip) < self._buffered:
            seen.append((yield))
        return sum(seen) / len(seen)

    def _rest(self, goodput: float, until: float) -> Generator[None, float, float]:
        """The mean goodput of the present limit, the newest rounds most, when the time has come or it has leapt up from
        what was known, if anything was."""
        changed = goodput / _COLLAPSED or float("inf")
        while self._now < until and goodput <= changed:
            goodput += _SMOOTHING * ((yield) - goodput)
        return goodput
