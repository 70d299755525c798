"""Runs the archive's application: Hypercorn's connections on trio, on a port of the caller's or the system's choice."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from connector.archive.request_guard import AsgiApp, RequestGuard
from connector.errors import LocalError
from connector.transfer.reporting import is_bug, iter_leaf_errors

_log = logging.getLogger(__name__)

_BACKLOG = 512
_QUEUED_READS = 16
"""Reads of 64 KiB that wait for the application, for each connection."""

_MAX_HEAD = 1 << 16
"""Bytes of a request's head: a token for an alias of 1,024 letters takes up to 20 KB."""


@attrs.frozen
class ServerSettings:
    """How connections are treated; durations in seconds.

    Attributes:
        keep_alive: How long a connection may be idle before and between requests, their heads included. Longer than
            clients of this kind keep connections for reuse (120 s), so that none is closed as it is reused.
        idle_timeout: How long a request or response body may make no progress.
        grace: How long responses in progress may take to finish when the server stops.
    """

    keep_alive: float = 150.0
    idle_timeout: float = 60.0
    grace: float = 3.0


DEFAULT_SERVER_SETTINGS = ServerSettings()


def open_listener(host: str, port: int) -> socket.socket:
    """Bind a socket, on which `serve` listens: until then connections are refused, so that proxies try another server.

    Args:
        host: The name or address to listen on.
        port: The port; 0 lets the system choose.

    Raises:
        LocalError: The address cannot be used.
    """
    with _listening(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    return listener


@contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.",
            hint="Choose another --port, or 0 for any free one.",
        ) from error


def url_of(listener: socket.socket, host: str) -> str:
    """The base URL under which clients on this machine reach a listener that was bound to `host`."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


async def serve(
    app: AsgiApp,
    listener: socket.socket,
    *,
    stop: trio.Event,
    settings: ServerSettings = DEFAULT_SERVER_SETTINGS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests with an ASGI application until `stop` is set, then finish those in progress, within limits.

    The listener is closed then.

    Raises:
        LocalError: Another process has begun to listen on its port meanwhile.
    """
    with _listening(*listener.getsockname()[:2]):
        listener.listen(_BACKLOG)
    guard = RequestGuard(app, idle_timeout=settings.idle_timeout)
    config = Config()
    config.keep_alive_timeout = settings.keep_alive
    config.keep_alive_max_requests = 10**9
    config.max_app_queue_size = _QUEUED_READS
    config.h11_max_incomplete_size = _MAX_HEAD
    config.include_server_header = False
    config.errorlog = logging.getLogger("connector.archive.server")

    async def end_responses() -> None:
        await stop.wait()
        await trio.sleep(settings.grace)
        guard.end_responses()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard.enforce)
        nursery.start_soon(end_responses)
        context = WorkerContext(None)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                handler = partial(_converse, guard, config, context)
                serving = partial(trio.serve_listeners, handler, listeners, handler_nursery=connections)
                await accepting.start(serving)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + settings.grace
        nursery.cancel_scope.cancel()


class _WatchedStream:
    """A connection that notes when its client has closed it. Hypercorn reads and writes it like any other."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket
        self.send_all, self.send_eof, self.aclose = stream.send_all, stream.send_eof, stream.aclose
        self.ended = trio.Event()

    async def receive_some(self, max_bytes: int) -> bytes:
        data = b""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        finally:
            if not data:
                self.ended.set()
        return data


async def _converse(guard: RequestGuard, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
    """Answer the requests of one connection until its end.

    Hypercorn would keep a connection that its client has closed until the end of its idle time, and the descriptor.
    """
    watched = _WatchedStream(stream)

    async def leave(scope: trio.CancelScope, client: tuple[str, int]) -> None:
        await watched.ended.wait()
        await guard.wait_until_answered(client)
        scope.cancel()

    try:
        client = stream.socket.getpeername()[:2]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, nursery.cancel_scope, client)
            await TCPServer(ASGIWrapper(cast(Any, guard)), config, context, {}, cast(Any, watched))
            nursery.cancel_scope.cancel()
    except Exception as error:
        if not all(isinstance(leaf, OSError) for leaf in iter_leaf_errors(error)):  # which the network causes
            _log.error("A connection broke off: %s", error, exc_info=error if is_bug(error) else None)
