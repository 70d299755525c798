"""Protects the archive from slow clients, and slow clients from losing the response to a refused upload."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any

import attrs
import trio

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Send = Callable[[Any], Awaitable[None]]

_OPEN_DESCRIPTORS = "/dev/fd"
_TIMED_OUT = b"The request body timed out."


@attrs.define(eq=False)
class _Exchange:
    """One request being answered: until when its client has to send or take the next bytes (trio's clock)."""

    client: tuple[str, int] | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    deadline: float = inf
    sending: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)


class RequestGuard:
    """ASGI middleware that limits how long a client may stall, and receives request bodies to their end.

    A request whose body stalls is answered with 408. A response that the client does not take is ended by shutting its
    connection down: Hypercorn shields what it sends from cancellation, so that cancelling its task alone has no effect.

    An application that refuses an upload does not read its body. A client that is still sending would find its
    connection reset instead of reading the refusal, so what is left of the body is received and discarded before the
    response is sent.

    Args:
        app: The application to protect.
        idle_timeout: Seconds without progress, in either direction.
    """

    def __init__(self, app: AsgiApp, *, idle_timeout: float) -> None:
        self._app = app
        self._idle_timeout = idle_timeout
        self._exchanges: set[_Exchange] = set()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = _Exchange(scope.get("client"))
        body_ended = response_started = False

        async def guarded_receive() -> Any:
            nonlocal body_ended
            if body_ended:
                return await receive()
            exchange.deadline = trio.current_time() + self._idle_timeout
            message = await receive()
            exchange.deadline = inf
            body_ended = not message.get("more_body", False)
            return message

        async def guarded_send(message: Any) -> None:
            nonlocal response_started
            while not body_ended:
                await guarded_receive()
            response_started = exchange.sending = True
            exchange.deadline = trio.current_time() + self._idle_timeout
            # With the last message Hypercorn reports the disconnect, upon which Starlette cancels a streamed response:
            # a connection that should close then would stay open.
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.CancelScope(shield=is_last):
                await send(message)
            exchange.deadline = inf
            exchange.sending = False

        self._exchanges.add(exchange)
        try:
            with exchange.scope:
                await self._app(scope, guarded_receive, guarded_send)
            if exchange.scope.cancelled_caught and not response_started:
                body_ended = True
                headers = [(b"content-length", b"%d" % len(_TIMED_OUT)), (b"connection", b"close")]
                await guarded_send({"type": "http.response.start", "status": 408, "headers": headers})
                await guarded_send({"type": "http.response.body", "body": _TIMED_OUT})
        finally:
            self._exchanges.discard(exchange)
            exchange.ended.set()

    async def wait_until_answered(self, client: tuple[str, int]) -> None:
        """Wait until no request of this client (address and port) is being answered."""
        while waiting := [exchange for exchange in self._exchanges if exchange.client == client]:
            await waiting[0].ended.wait()

    async def enforce(self) -> None:
        """End the exchanges whose clients exceed their deadline, until cancelled."""
        while True:
            await trio.sleep(self._idle_timeout / 4)
            self._end([exchange for exchange in self._exchanges if exchange.deadline <= trio.current_time()])

    def end_responses(self) -> None:
        """End all responses that wait for their client."""
        self._end([exchange for exchange in self._exchanges if exchange.sending])

    def _end(self, exchanges: list[_Exchange]) -> None:
        for exchange in exchanges:
            exchange.scope.cancel()
        stalled = {exchange.client for exchange in exchanges if exchange.sending}
        if stalled:
            _shut_down_connections(stalled)


def _shut_down_connections(peers: set[tuple[str, int] | None]) -> None:
    """Shut down this process's connections with these peers (address and port). Does nothing without `/dev/fd`."""
    names: list[str] = []
    with suppress(OSError):  # there may be no descriptor left for it; the next look comes soon
        names = os.listdir(_OPEN_DESCRIPTORS)
    for name in names:
        with suppress(OSError):  # closed meanwhile, or not connected
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if connection.getpeername()[:2] in peers:
                        connection.shutdown(socket.SHUT_RDWR)
