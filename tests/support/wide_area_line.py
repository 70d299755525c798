"""A line with delay, windows and a capacity in virtual time, and as many workers as a limit says: a fluid model.

The same line as `benchmarks/servers/line.c`, without sockets and clocks: a run of minutes takes a fraction of a second
and gives the same result each time.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import attrs

from connector.transfer.limit import ConcurrencyLimit

MIB = 1 << 20
MB = 1_000_000
FIRST_WINDOW = 64 << 10
IDLE = 1.0


@attrs.define(eq=False)
class Connection:
    """One connection and the part that a worker moves on it: `left` bytes from `ready` on."""

    window: float = FIRST_WINDOW
    used: float = float("-inf")
    ready: float = 0.0
    left: float = 0.0
    busy: bool = False
    lost: bool = False


@attrs.define
class WideAreaLine:
    """`round_trip` in seconds, `window` of each connection and `part` in bytes, `capacity` in bytes per second.

    A part begins one round trip after its request, two on a new connection. Up it is over one round trip after its last
    byte. `processing`: seconds in which one of the `cores` opens or seals a part,
    which spreads the parts in time.
    """

    limit: ConcurrencyLimit
    round_trip: float
    window: float
    capacity: float
    up: bool = False
    part: int = 8 * MIB
    processing: float = 0.03
    cores: int = 2
    address: float = 0.0
    """Seconds until the URL of a part to send is there; most are fetched ahead."""
    share: Callable[[float], float] = lambda now: 1.0
    resets_every: float = float("inf")
    losses_every: float = float("inf")
    stalls_every: float = float("inf")
    refuses_above: int = 10**9
    seed: int = 1

    now: float = 0.0
    first_byte: float | None = None
    requests: int = 0
    refused: int = 0
    resent: float = 0.0
    curve: list[tuple[float, float, int]] = attrs.field(factory=list)
    """Seconds, bytes in this step, the limit after it."""
    connections: list[Connection] = attrs.field(factory=list)
    free: list[float] = attrs.field(factory=list)
    """When each core has done what it was given."""

    def run(self, total: float) -> WideAreaLine:
        """Move files of `total` bytes."""
        rng, step = random.Random(self.seed), self.round_trip / 8
        parts = -(-int(total) // self.part)
        while parts or any(connection.busy for connection in self.connections):
            self.now += step
            busy = [connection for connection in self.connections if connection.busy]
            for connection in busy:
                if connection.left <= 0 and connection.ready <= self.now:
                    connection.busy = False
            working = sum(connection.busy for connection in self.connections)
            while working < self.limit.limit and parts:
                parts -= self._begin(working)
                working += 1
            self._move(step, working, rng)
        return self

    def utilization(self, start: float = 0.0, stop: float | None = None) -> float:
        """Bytes moved between two moments after the first byte, as a share of the capacity."""
        assert self.first_byte is not None
        begin, end = self.first_byte + start, self.now if stop is None else self.first_byte + stop
        moved = sum(size for at, size, _ in self.curve if begin <= at < end)
        return moved / (self.capacity * (end - begin))

    @property
    def heights(self) -> list[int]:
        return [limit for _, _, limit in self.curve]

    def _begin(self, working: int) -> int:
        """Give a part to an idle connection or a new one: 1, or 0 if it was refused and waits."""
        idle = [connection for connection in self.connections if not connection.busy]
        connection = max(idle, key=lambda connection: connection.used) if idle else Connection()
        trips = 1 if idle else 2
        if not idle:
            self.connections.append(connection)
        elif self.now - connection.used > IDLE + self.round_trip:
            connection.window, connection.lost = FIRST_WINDOW, False
        connection.busy = True
        self.requests += 1
        if working >= self.refuses_above:
            self.refused += 1
            self.limit.refused(self.now)
            connection.left, connection.ready = 0.0, self.now + trips * self.round_trip + 0.5
            return 0
        connection.left, connection.ready = float(self.part), self.now + trips * self.round_trip
        if self.up:  # it follows its request without a wait, but has to be sealed, while its address is fetched
            connection.ready = max(self._processed(), self.now + self.address) + (trips - 1) * self.round_trip
        return 1

    def _processed(self) -> float:
        """When a core has processed one more part."""
        self.free = self.free or [0.0] * self.cores
        done = max(heapq.heappop(self.free), self.now) + self.processing
        heapq.heappush(self.free, done)
        return done

    def _move(self, step: float, working: int, rng: random.Random) -> None:
        flowing = [each for each in self.connections if each.busy and each.left > 0 and each.ready <= self.now]
        wanted = {each: min(each.window / self.round_trip * step, each.left) for each in flowing}
        room, moved = self.capacity * self.share(self.now) * step, 0.0
        for number, connection in enumerate(sorted(flowing, key=lambda each: wanted[each])):
            size = min(wanted[connection], room / (len(flowing) - number))
            room -= size
            moved += size
            self._moved(connection, size, wanted[connection], step, rng)
            buffered = working * self.part
            self.limit.advanced(int(size), self.now, in_flight=working, buffered=buffered, round_trip=self.round_trip)
        if moved and self.first_byte is None:
            self.first_byte = self.now
        self.curve.append((self.now, moved, self.limit.limit))

    def _moved(self, connection: Connection, size: float, wanted: float, step: float, rng: random.Random) -> None:
        connection.left -= size
        connection.used = self.now
        if size > wanted / 2:
            grown = connection.window * 2 ** (step / self.round_trip)
            if connection.lost:
                grown = connection.window + self.window / 16 * step / self.round_trip
            connection.window = min(self.window, grown)
        if rng.random() < step / self.losses_every:
            connection.window, connection.lost = max(connection.window / 2, FIRST_WINDOW / 8), True
        if rng.random() < step / self.resets_every:
            lost = self.part - connection.left if self.up else 0.0  # a download keeps what has arrived
            self.resent += lost
            connection.left += lost
            connection.window, connection.ready = FIRST_WINDOW, self.now + 2 * self.round_trip
        if rng.random() < step / self.stalls_every:
            connection.ready = self.now + 2.0
        if connection.left <= 0:
            connection.left = 0.0
            connection.ready = self.now + self.round_trip if self.up else self._processed()
