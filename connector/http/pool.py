"""Connections in use and idle, over all hosts."""

from __future__ import annotations

import trio

from connector.http.connection import Connection
from connector.http.routes import Route
from connector.http.socket_stream import IdleState


class ConnectionPool:
    """At most `max_connections` connections over all routes, in use and idle together.

    Waiting requests get a slot in the order of their coming. An idle connection is used again within
    `keepalive_expiry` seconds, the last used one first, and is closed when another route needs its slot.
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
    def free(self) -> int:
        """Connections that may be opened without closing idle ones."""
        return self._slots.value - len(self._idle)

    @property
    def idle(self) -> int:
        """Connections kept for later."""
        return len(self._idle)

    def count_idle(self, route: Route) -> int:
        """Those of one route."""
        return sum(each.route == route for each in self._idle)

    async def acquire(self) -> None:
        """Wait for a slot: the right to one connection, to be ended with `release`."""
        try:
            self._slots.acquire_nowait()  # fails while others wait, so none of them is overtaken
        except trio.WouldBlock:
            await self._slots.acquire()

    def take_idle(self, route: Route) -> Connection | None:
        """Return the most recently used idle connection of `route` that is still good, closing those that are not."""
        self._close_expired()
        for connection in reversed([each for each in self._idle if each.route == route]):
            self._idle.remove(connection)
            if connection.idle_state() is IdleState.IDLE:
                return connection
            connection.stream.close()
        return None

    def make_room(self) -> None:
        """Close the longest idle connections as far as one more would be too many. The caller holds a slot."""
        self._close_expired()
        while self._idle and self.in_use + len(self._idle) > self._max_connections:
            self._idle.pop(0).stream.close()

    def release(self, connection: Connection | None, *, reusable: bool) -> None:
        """End the use of a slot and of the connection that was opened or taken for it."""
        self._slots.release()
        if connection is None:
            return
        if reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
            self._close_expired()
        else:
            connection.stream.close()

    def close(self) -> None:
        """Close the idle connections now and those in use when their requests end."""
        self._closed = True
        while self._idle:
            self._idle.pop().stream.close()

    def _close_expired(self) -> None:
        oldest = trio.current_time() - self._keepalive_expiry
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).stream.close()
