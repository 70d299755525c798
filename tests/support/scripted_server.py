"""A server on a real socket that plays, byte for byte, what a test wrote down: one scene per connection."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

import trio

Scene = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], sock: trio.SocketStream) -> None:
        self.stream = stream
        self._sock = sock
        self._buffer = b""

    async def head(self) -> bytes:
        """Read one request's head, with its empty line. Empty when the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                return b""
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def body(self, size: int) -> bytes:
        """Read exactly ``size`` bytes, or fewer when the client goes."""
        while len(self._buffer) < size:
            data = await self.stream.receive_some(65536)
            if not data:
                break
            self._buffer += data
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    async def send(self, data: bytes, *, step: int = 0) -> None:
        """Send ``data`` at once or, with ``step``, in pieces of so many bytes that the client sees one by one."""
        if not step:
            await self.stream.send_all(data)
            return
        for start in range(0, len(data), step):
            await self.stream.send_all(data[start : start + step])
            await trio.sleep(0.0002)

    async def gone(self) -> None:
        """Wait until the client closes its end."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass

    def limit_unread(self, size: int) -> None:
        """Have the system acknowledge not much more than twice so many bytes that were not read yet."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def reset(self) -> None:
        """Close with a TCP reset: what was not read on either side is lost."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.socket.close()


class ScriptedServer:
    """Plays ``scenes[n]`` to the n-th connection; the last scene serves all further ones."""

    def __init__(self, *scenes: Scene, ssl_context: ssl.SSLContext | None = None) -> None:
        self.scenes = scenes
        self.connections = 0
        self.open = 0
        self.port = 0
        self._ssl_context = ssl_context

    @property
    def url(self) -> str:
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://127.0.0.1:{self.port}/object?signature=secret"

    async def run(self, task_status: trio.TaskStatus[ScriptedServer] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. For ``nursery.start``."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            task_status.started(self)

    async def _serve(self, sock: trio.SocketStream) -> None:
        scene = self.scenes[min(self.connections, len(self.scenes) - 1)]
        self.connections += 1
        self.open += 1
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = sock
        if self._ssl_context is not None:
            stream = trio.SSLStream(sock, self._ssl_context, server_side=True, https_compatible=True)
        try:
            await scene(Peer(stream, sock))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client went away, which is what many a test is about
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)


def answering(response: bytes, *, step: int = 0, times: int = 1, then: str = "wait") -> Scene:
    """A scene: read a request's head, send ``response``, so often; ``then`` wait, close or reset."""

    async def scene(peer: Peer) -> None:
        for _ in range(times):
            if not await peer.head():
                return
            await peer.send(response, step=step)
        if then == "wait":
            await peer.gone()
        elif then == "reset":
            peer.reset()

    return scene


def response(status: str = "200 OK", body: bytes = b"", *headers: tuple[str, str], length: int | None = None) -> bytes:
    """Write a response with a Content-Length (``length`` to lie about it)."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, *, size: int, trailers: bytes = b"", status: str = "200 OK", extra: str = "") -> bytes:
    """Write a chunked response with chunks of ``size`` bytes."""
    head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n{extra}\r\n".encode()
    chunks = b"".join(
        b"%x;name=value\r\n%s\r\n" % (len(body[at : at + size]), body[at : at + size])
        for at in range(0, len(body), size)
    )
    return head + chunks + b"0\r\n" + trailers + b"\r\n"
