"""Runs the archive's application: Hypercorn's connections on trio, on a port of the caller's or the system's choice."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from connector.archive.connections import BulkConnection
from connector.errors import LocalError

_BACKLOG = 512
_QUEUED_READS = 2
_SENDING_THREADS = 16


@attrs.frozen
class ServerSettings:
    """How connections are treated; durations in seconds.

    ``keep_alive`` is longer than clients of this kind keep connections for reuse, so that none is closed under their
    hands. ``grace``: how long answers under way may take to finish when the server stops.
    """

    keep_alive: float = 75.0
    stall_timeout: float = 60.0
    grace: float = 3.0


DEFAULT_SERVER_SETTINGS = ServerSettings()


def open_listener(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 lets the system choose. Raises :class:`~connector.errors.LocalError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise LocalError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.",
            hint="Choose another --port, or 0 for any free one.",
        ) from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """The base URL under which clients on this machine reach a listener that was bound to ``host``."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


async def serve(
    app: Callable[..., Awaitable[None]],
    listener: socket.socket,
    *,
    stop: trio.Event,
    settings: ServerSettings = DEFAULT_SERVER_SETTINGS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests with an ASGI application until ``stop`` is set, then finish those under way, within limits."""
    config = Config()
    config.keep_alive_timeout = settings.keep_alive
    config.keep_alive_max_requests = 10**9
    config.max_app_queue_size = _QUEUED_READS
    config.include_server_header = False
    config.errorlog = logging.getLogger("connector.archive.server")
    context = WorkerContext(None)
    connect = partial(
        BulkConnection,
        ASGIWrapper(app),
        config,
        context,
        ConnectionState({}),
        stall_timeout=settings.stall_timeout,
        senders=trio.CapacityLimiter(_SENDING_THREADS),
    )
    listener.setblocking(False)
    acceptor = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, connect, [acceptor], handler_nursery=connections))
            task_status.started()
            await stop.wait()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + settings.grace
