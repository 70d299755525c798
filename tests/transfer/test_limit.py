from __future__ import annotations

import bisect
import heapq
import random
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.steps import Backoff

MB = 1_000_000
PART = 16 * MB


@attrs.define
class Server:
    """A server with bounds, and as many clients' workers as the limit says, in virtual time."""

    limit: ConcurrencyLimit
    per_connection: float = float("inf")
    capacity: float = float("inf")
    share: Callable[[float], float] = lambda now: 1.0
    refuses_above: int = 10**9
    noise: float = 0.0
    latency: float = 0.02
    part: int = PART
    chunk: int = MB
    seed: int = 1

    now: float = 0.0
    working: int = 0
    served: int = 0
    requests: int = 0
    refused: int = 0
    through: list[tuple[float, int]] = attrs.field(factory=list)
    heights: list[tuple[float, int]] = attrs.field(factory=list)
    events: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    rng: random.Random = attrs.field(default=attrs.Factory(lambda self: random.Random(self.seed), takes_self=True))

    def run(self, seconds: float) -> Server:
        rng, events = self.rng, self.events
        backoff, stop = Backoff(), self.now + seconds

        def after(delay: float, do: Callable[[], None]) -> None:
            heapq.heappush(events, (self.now + delay, rng.getrandbits(60), do))

        def request(tries: int) -> None:
            self.requests += 1
            if self.served >= self.refuses_above:
                self.refused += 1
                self.limit.refused(self.now)
                after(backoff.wait(tries, rng.random) + self.latency, lambda: request(tries + 1))
            else:
                self.served += 1
                send(self.part)

        def send(left: int) -> None:
            size = min(left, self.chunk)
            rate = min(self.per_connection, self.capacity / self.served) * self.share(self.now)
            after(size / rate * rng.uniform(1 - self.noise, 1 + self.noise), lambda: sent(size, left - size))

        def sent(size: int, left: int) -> None:
            self.through.append((self.now, size))
            self.limit.advanced(size, self.now, in_flight=self.working)
            if left:
                send(left)
                return
            self.served -= 1
            self.working -= 1
            staff()

        def staff() -> None:
            while self.working < self.limit.limit:
                self.working += 1
                after(self.latency, lambda: request(1))

        staff()
        while events and events[0][0] < stop:
            self.now, _, do = heapq.heappop(events)
            do()
            staff()
            if not self.heights or self.heights[-1][1] != self.limit.limit:
                self.heights.append((self.now, self.limit.limit))
        self.now = stop
        return self

    def goodput(self, start: float, stop: float) -> float:
        return sum(size for at, size in self.through if start <= at < stop) / (stop - start)

    def height_at(self, moment: float) -> int:
        return self.heights[bisect.bisect(self.heights, moment, key=lambda height: height[0]) - 1][1]

    def share_of_time_at(self, wanted: set[int], start: float, stop: float) -> float:
        steps = 1000
        moments = [start + (stop - start) * n / steps for n in range(steps)]
        return sum(self.height_at(moment) in wanted for moment in moments) / steps


def adaptive(**fields: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(**{"maximum": 16, **fields})


SEEDS = range(2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("part", [PART, MB])
def test_a_server_limited_per_connection_is_scaled_to_its_best_within_ten_seconds(
    seed: int, noise: float, part: int
) -> None:
    def server(limit: ConcurrencyLimit) -> Server:
        return Server(limit, per_connection=10 * MB, noise=noise, part=part, chunk=MB // 4, seed=seed)

    best = max(server(ConcurrencyLimit.fixed(n)).run(15).goodput(5, 15) for n in (8, 16))
    assert best > 125 * MB
    adapted = server(adaptive()).run(30)
    assert adapted.goodput(5, 10) > 0.9 * best
    assert adapted.goodput(10, 30) > 0.95 * best


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("speed", [5 * MB, 10 * MB, 50 * MB])
@pytest.mark.parametrize("most", [2, 6, 13])
def test_a_server_that_refuses_above_a_number_is_used_to_that_number_and_hardly_refuses(
    noise: float, speed: int, most: int
) -> None:
    def server(limit: ConcurrencyLimit) -> Server:
        return Server(limit, per_connection=speed, refuses_above=most, noise=noise, chunk=speed // 8, seed=most)

    best = server(ConcurrencyLimit.fixed(most)).run(30).goodput(10, 30)
    adapted = server(adaptive()).run(60)
    refused, requests = adapted.refused, adapted.requests
    adapted.run(180)
    assert adapted.refused - refused < 0.03 * (adapted.requests - requests)
    assert adapted.goodput(30, 240) > 0.9 * best
    assert adapted.share_of_time_at({most, most - 1}, 60, 240) > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_within_the_first_minute_too_few_are_refused(seed: int) -> None:
    server = Server(adaptive(), per_connection=50 * MB, refuses_above=6, chunk=5 * MB, seed=seed).run(60)
    assert server.refused < 0.03 * server.requests
    assert server.share_of_time_at({5, 6}, 5, 60) > 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_server_limited_as_a_whole_is_not_given_ever_more(seed: int, noise: float) -> None:
    server = Server(adaptive(), capacity=100 * MB, noise=noise, seed=seed).run(400)
    assert server.goodput(10, 400) > 0.93 * 100 * MB
    heights = [server.height_at(moment) for moment in range(60, 400)]
    assert sum(heights) / len(heights) < 5
    assert max(heights) <= 8


def waves(seed: int, *, longest: float = 2) -> Callable[[float], float]:
    """What is left of a machine that others use, too: a half to all of it, for a quarter of a second or longer."""
    rng = random.Random(seed)
    ends, shares = [0.0], [1.0]

    def share(now: float) -> float:
        while ends[-1] <= now:
            ends.append(ends[-1] + rng.uniform(0.25, rng.choice([2, longest])))
            shares.append(rng.uniform(0.5, 1))
        return shares[bisect.bisect(ends, now)]

    return share


def test_a_machine_that_gets_faster_by_itself_is_no_reason_for_more() -> None:
    highest = [
        max(h for _, h in Server(adaptive(), capacity=300 * MB, share=waves(seed), seed=seed).run(60).heights)
        for seed in range(40)
    ]
    # It takes a fast moment just in the trial and slow ones before and after it; without the look back it was 9.
    assert sum(height > 8 for height in highest) <= 4


def test_a_long_transfer_takes_no_more_memory_than_a_short_one() -> None:
    climbed = 0
    for seed in range(16):
        share = waves(seed, longest=30)
        server = Server(adaptive(maximum=24), capacity=300 * MB, share=share, part=8 * MB, chunk=8 * MB, seed=seed)
        in_short = max(height for _, height in server.run(30).heights)
        climbed += max(height for _, height in server.run(570).heights) > in_short
    # It takes luck twice: one moment that makes a step down look dear, and one in which a step up looks worth it.
    assert climbed <= 1


@pytest.mark.parametrize("begin", [n / 10 for n in range(11)])
def test_half_a_second_in_which_nothing_moves_is_no_reason_for_more(begin: float) -> None:
    def share(now: float) -> float:
        return 0.05 if begin <= now < begin + 0.5 else 1.0

    server = Server(adaptive(maximum=24), capacity=800 * MB, share=share, part=8 * MB, latency=0.001, noise=0.1)
    assert max(height for _, height in server.run(15).heights) == 8


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1, 1.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_line_that_is_faster_in_its_first_second_is_measured_anew(seconds: float, seed: int) -> None:
    def share(now: float) -> float:
        return 10.0 if now < seconds else 1.0

    server = Server(adaptive(), per_connection=10 * MB, share=share, noise=0.2, chunk=MB // 4, part=8 * MB, seed=seed)
    assert server.run(20).goodput(10, 20) > 0.9 * 16 * 10 * MB


@pytest.mark.parametrize("seed", SEEDS)
def test_what_brings_nothing_is_given_up_in_time(seed: int) -> None:
    server = Server(adaptive(limit=16), capacity=100 * MB, noise=0.1, seed=seed).run(300)
    assert server.goodput(10, 300) > 0.93 * 100 * MB
    assert server.height_at(300) < 8


@pytest.mark.parametrize("seed", SEEDS)
def test_where_more_stops_to_help_it_stops(seed: int) -> None:
    """Six connections of 10 MB/s fill 55 MB/s."""
    server = Server(adaptive(), per_connection=10 * MB, capacity=55 * MB, noise=0.1, seed=seed).run(300)
    assert server.goodput(10, 300) > 0.95 * 55 * MB
    assert server.share_of_time_at({5, 6, 7, 8}, 30, 300) > 0.85


def test_it_follows_a_server_that_gets_room_again() -> None:
    server = Server(adaptive(), per_connection=10 * MB, refuses_above=3).run(60)
    assert server.height_at(60) in (2, 3)
    server.refuses_above = 12
    server.run(600)
    assert server.goodput(300, 660) > 0.85 * 120 * MB


def test_it_follows_a_server_that_loses_room() -> None:
    server = Server(adaptive(), per_connection=10 * MB, refuses_above=12).run(60)
    server.refuses_above = 3
    before = server.refused, server.requests
    server.run(600)
    assert server.goodput(120, 660) > 0.85 * 30 * MB
    assert server.refused - before[0] < 0.03 * (server.requests - before[1])


@given(st.integers(1, 40), st.lists(st.floats(0.001, 50) | st.none(), max_size=200))
def test_a_fixed_limit_never_moves(height: int, happenings: list[float | None]) -> None:
    limit, now = ConcurrencyLimit.fixed(height), 0.0
    for delay in happenings:
        now += delay or 0.0
        if delay is None:
            assert limit.refused(now) == height
        else:
            assert limit.advanced(10**9, now, in_flight=height) == height


happening = st.tuples(st.floats(0, 30), st.integers(0, 10**9), st.integers(0, 50) | st.just(-1))


@given(st.integers(1, 5), st.integers(0, 20), st.data(), st.lists(happening, max_size=300))
def test_whatever_happens_the_limit_keeps_its_bounds(
    minimum: int, room: int, data: st.DataObject, happenings: list[tuple[float, int, int]]
) -> None:
    start = data.draw(st.integers(minimum, minimum + room))
    limit, now = ConcurrencyLimit(minimum=minimum, maximum=minimum + room, limit=start), 0.0
    for delay, size, in_flight in happenings:
        now += delay
        before = limit.limit
        if in_flight < 0:
            assert limit.refused(now) <= before
        else:
            limit.advanced(size, now, in_flight=in_flight)
        assert minimum <= limit.limit <= minimum + room


@pytest.mark.parametrize("clock_starts_at", [0.0, -5.0, 1e9])
def test_it_does_not_matter_when_the_clock_began(clock_starts_at: float) -> None:
    server = Server(adaptive(), per_connection=10 * MB, now=clock_starts_at).run(10)
    assert server.heights[-1][1] == 16


def test_one_congestion_has_many_messengers() -> None:
    limit = adaptive(limit=16)
    heights = [limit.refused(100.0 + n / 100) for n in range(16)]
    assert set(heights) == {11}


def test_places_that_are_not_used_are_no_reason_for_more() -> None:
    limit = adaptive(limit=4)
    for n in range(1000):
        limit.advanced(10**9, n / 10, in_flight=3)
    assert limit.limit == 4


def slow_start(limit: ConcurrencyLimit, part: int, *, until: float) -> list[int]:
    """The limits over a line of a quarter of a second on which nothing but the start happens."""
    limits = [limit.limit]
    for n in range(int(until / 0.01)):
        limit.advanced(1000, n / 100, in_flight=limit.limit, buffered=limit.limit * part, round_trip=0.25)
        limits += [] if limits[-1] == limit.limit else [limit.limit]
    return limits


def test_a_slow_start_doubles_when_all_requests_are_answered() -> None:
    assert slow_start(adaptive(maximum=32, threshold=24 * MB), MB, until=0.4) == [4, 8]
    assert slow_start(adaptive(maximum=32, threshold=24 * MB), MB, until=0.9) == [4, 8, 16]
    assert slow_start(adaptive(maximum=32, threshold=24 * MB), MB, until=1.9) == [4, 8, 16, 24]


def test_a_slow_start_goes_further_with_small_parts() -> None:
    assert slow_start(adaptive(maximum=32, threshold=24 * MB), MB // 4, until=1.9) == [4, 8, 16, 32]


def test_a_refusal_ends_the_slow_start() -> None:
    limit = adaptive(maximum=32, threshold=24 * MB)
    assert slow_start(limit, MB, until=0.4) == [4, 8]
    limit.refused(0.45)
    assert slow_start(limit, MB, until=1.9) == [5]
