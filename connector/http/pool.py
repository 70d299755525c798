"""Which connections exist, who uses them, and which wait for use."""

from __future__ import annotations

import attrs
import httpx
import trio

from connector.http.connection import Connection
from connector.http.dial import Origin
from connector.http.wire import IdleState


class Pool:
    """At most ``max_connections`` connections over all origins, in use and idle together.

    Those who wait for a slot get it in the order of their coming. An idle connection is taken up again within
    ``keepalive_expiry`` seconds, the last used one first, and gives way to one for another origin.
    """

    def __init__(self, max_connections: int, keepalive_expiry: float) -> None:
        self._max_connections = max_connections
        self._keepalive_expiry = keepalive_expiry
        self._slots = trio.Semaphore(max_connections, max_value=max_connections)
        self._idle: list[Connection] = []
        self._closed = False

    @property
    def in_use(self) -> int:
        """Slots taken."""
        return self._max_connections - self._slots.value

    @property
    def idle(self) -> int:
        """Connections kept for later."""
        return len(self._idle)

    async def admit(self, within: float) -> PooledSlot:
        """Wait for a slot. Raises :class:`httpx.PoolTimeout` after ``within`` seconds."""
        try:
            self._slots.acquire_nowait()  # fails while others wait, so nobody is overtaken
            return PooledSlot(self)
        except trio.WouldBlock:
            pass
        with trio.move_on_after(within):
            await self._slots.acquire()
            return PooledSlot(self)
        raise httpx.PoolTimeout(
            f"All {self._max_connections} connections stayed in use for {within:g} seconds; no connection became free."
        )

    def take_idle(self, origin: Origin) -> Connection | None:
        """Give the most recently used idle connection to ``origin`` that is still good, closing those that are not."""
        self._drop_expired()
        for connection in reversed([each for each in self._idle if each.origin == origin]):
            self._idle.remove(connection)
            if connection.glance() is IdleState.QUIET:
                return connection
            connection.close()
        return None

    def make_room(self) -> None:
        """Close the longest idle connections as far as one more would be too many. The caller holds a slot."""
        self._drop_expired()
        while self._idle and self.in_use + len(self._idle) > self._max_connections:
            self._idle.pop(0).close()

    def put_back(self, connection: Connection | None, *, reusable: bool) -> None:
        """End the use of a slot and of the connection that was made or taken for it."""
        self._slots.release()
        if connection is None:
            return
        if reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
            self._drop_expired()
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections now and those in use when their requests end."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _drop_expired(self) -> None:
        oldest = trio.current_time() - self._keepalive_expiry
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).close()


@attrs.define(eq=False)
class PooledSlot:
    """The right to one slot, and the connection in it. ``end`` counts the first time only."""

    _pool: Pool
    connection: Connection | None = None
    _ended: bool = False

    def end(self, reusable: bool) -> None:
        """Give the slot back; the connection is kept if it is ``reusable`` and closed otherwise."""
        if not self._ended:
            self._ended = True
            self._pool.put_back(self.connection, reusable=reusable)
