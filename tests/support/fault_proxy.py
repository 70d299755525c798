"""A proxy in front of a server that does to the traffic what bad networks and busy servers do.

In a test: ``proxy = await nursery.start(FaultProxy(("127.0.0.1", port), Faults(...)).run)``, talk to ``proxy.url``.
As a process: ``python -m tests.support.fault_proxy --upstream HOST:PORT --refuse 0.1 ...``; it says where it listens,
answers ``GET /.faults`` with its counts as JSON, and writes them out when it is ended. What happens to the n-th
connection and the n-th request depends on the seed and n alone.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import socket
import struct

import attrs
import trio

from tests.support.faults import Counts, Fate, Faults
from tests.support.http_messages import Body, Head, Messages

_LINGER_SECONDS = 1.0
_CATCH_UP_SECONDS = 0.1


class _Cut(Exception):
    """This connection has lived long enough."""


class FaultProxy:
    """Passes requests on to ``upstream``. ``faults`` may be replaced while it runs."""

    def __init__(self, upstream: tuple[str, int], faults: Faults | None = None) -> None:
        self.upstream = upstream
        self.faults = faults or Faults()
        self.counts = Counts()
        self.port = 0
        self._open: set[_Line] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def run(self, port: int = 0, *, task_status: trio.TaskStatus[FaultProxy] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self)
        await trio.serve_listeners(self._serve, listeners)

    def cut_all(self) -> None:
        """Reset every open connection now."""
        for line in self._open:
            line.reset()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.counts.connections += 1
        line = _Line(client, self)
        self._open.add(line)
        try:
            await line.serve()
        except* _Cut:
            self.counts.cut += 1
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ValueError):
            pass  # one of the two ends has gone
        finally:
            self._open.discard(line)
            await line.close()


class _Line:
    """One client's connection, and the connection behind it."""

    def __init__(self, client: trio.SocketStream, proxy: FaultProxy) -> None:
        self._client = client
        self._server: trio.SocketStream | None = None
        self._proxy = proxy
        self._lifetime, self._ends_in_reset = proxy.faults.connection(proxy.counts.connections)
        self._free_at = -math.inf
        self._touched = True

    async def serve(self) -> None:
        requests = Messages(self._client)
        while (head := await requests.head()) is not None:
            if head.start[1] == "/.faults":
                await self._answer("200 OK", json.dumps(attrs.asdict(self._proxy.counts)))
            elif not await self._request(head, requests):
                return

    async def _request(self, head: Head, requests: Messages) -> bool:
        """Handle one request; tell whether the connection lives on."""
        faults, counts = self._proxy.faults, self._proxy.counts
        counts.requests += 1
        touched = self._touched = faults.touches(*head.start[:2])
        fate = faults.request(counts.requests) if touched else Fate()
        crowded = touched and faults.max_concurrent is not None and counts.concurrent >= faults.max_concurrent
        counts.concurrent += 1
        counts.most_concurrent = max(counts.most_concurrent, counts.concurrent)
        try:
            if touched and faults.delay:
                await trio.sleep(faults.delay)
            if fate.refused or crowded:
                counts.refused += fate.refused
                counts.crowded += crowded and not fate.refused
                return await self._refuse(head)
            return await self._relay(head, requests, fate)
        finally:
            counts.concurrent -= 1

    async def _refuse(self, head: Head) -> bool:
        has_body = head.is_chunked or bool(head.length)
        extra = self._proxy.faults.retry_header() + ("Connection: close\r\n" if has_body else "")
        await self._answer("503 Slow Down", "<Code>SlowDown</Code>", extra)
        if has_body:
            await self._linger()
        return not has_body

    async def _relay(self, head: Head, requests: Messages, fate: Fate) -> bool:
        if self._server is None:
            self._server = await trio.open_tcp_stream(*self._proxy.upstream)
            self._responses = Messages(self._server)
        await self._pass(self._server, head.raw)
        upload = Body(requests, length=0 if head.length is None else head.length, chunked=head.is_chunked)
        alive = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, upload, fate)
            alive = await self._download(head, fate)
            nursery.cancel_scope.cancel()
        if alive and not upload.finished:
            await self._linger()
        return alive and upload.finished and not head.closes

    async def _linger(self) -> None:
        """Closing over unread bytes would reset the connection and take the answer along."""
        await self._client.send_eof()
        with trio.move_on_after(_LINGER_SECONDS):
            while await self._client.receive_some(65536):
                pass

    async def _upload(self, body: Body, fate: Fate) -> None:
        assert self._server is not None
        flip_at = int(fate.place * (body.length or 1)) if fate.upload_flipped else -1
        position = 0
        while (piece := await body.next()) is not None:
            data, is_content = piece
            if is_content:
                data = self._flipped(data, flip_at - position)
                position += len(data)
                self._proxy.counts.uploaded += len(data)
            try:
                await self._pass(self._server, data)
            except trio.BrokenResourceError:
                return  # the server wants no more of it, and says why in its answer
        if not body.finished:
            raise trio.BrokenResourceError("the client has gone")  # or the server would wait for the rest

    async def _download(self, request: Head, fate: Fate) -> bool:
        while True:
            head = await self._responses.head()
            if head is None:
                return False
            if not head.start[1].startswith("1"):
                break
            await self._pass(self._client, head.raw)
        bodiless = request.start[0] == "HEAD" or head.start[1] in ("204", "304")
        length = 0 if bodiless else None if head.is_chunked else head.length
        stall_at = int(fate.place * min(length or 0, 1 << 20)) if fate.stalled else -1
        flip_at = int(fate.place * (length or 1)) if fate.flipped else -1
        end_at = int(fate.place * (length or 1)) if fate.truncated and length != 0 else math.inf
        if fate.stalled and not length:
            await self._stall()
        await self._pass(self._client, head.raw)
        body = Body(self._responses, length=length, chunked=head.is_chunked and not bodiless)
        position = 0
        while (piece := await body.next()) is not None:
            data, is_content = piece
            if is_content:
                if position <= stall_at < position + len(data):
                    await self._stall()
                data = self._flipped(data, flip_at - position)
                if position + len(data) > end_at:
                    self._proxy.counts.truncated += 1
                    await self._pass(self._client, data[: int(end_at) - position])
                    return False
                position += len(data)
                self._proxy.counts.downloaded += len(data)
            await self._pass(self._client, data)
        return body.finished and not head.closes and (length is not None or head.is_chunked)

    async def _stall(self) -> None:
        self._proxy.counts.stalled += 1
        await trio.sleep(self._proxy.faults.stall_seconds)

    def _flipped(self, data: bytes, at: int) -> bytes:
        if not 0 <= at < len(data):
            return data
        self._proxy.counts.flipped += 1
        return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]

    async def _pass(self, stream: trio.SocketStream, data: bytes) -> None:
        """Send ``data`` on, as fast as the connection may go and as long as it lives."""
        rate = self._proxy.faults.bytes_per_second if self._touched else None
        step = len(data) if rate is None else max(1024, int(rate / 50))
        for start in range(0, len(data), step or 1):
            piece = data[start : start + step]
            if len(piece) >= self._lifetime:
                await stream.send_all(piece[: int(self._lifetime)])
                raise _Cut
            self._lifetime -= len(piece)
            if rate is not None:
                # A little of the time lost to others may be caught up, or a busy machine narrows every limit.
                self._free_at = max(self._free_at, trio.current_time() - _CATCH_UP_SECONDS) + len(piece) / rate
                await trio.sleep_until(self._free_at)
            await stream.send_all(piece)

    async def _answer(self, status: str, body: str, extra: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        await self._client.send_all((head + body).encode())

    def reset(self) -> None:
        for stream in (self._client, self._server):
            if stream is not None and stream.socket.fileno() >= 0:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.socket.close()

    async def close(self) -> None:
        if self._ends_in_reset and self._lifetime < math.inf:
            self.reset()
        for stream in (self._client, self._server):
            if stream is not None:
                await trio.aclose_forcefully(stream)


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0)
    for field in attrs.fields(Faults):
        option = "--" + field.name.replace("_", "-")
        if field.name == "cut_after":
            parser.add_argument(option, type=_bounds, metavar="LOW-HIGH")
        elif field.name == "retry_after_as_date":
            parser.add_argument(option, action="store_true")
        elif field.name == "only":
            parser.add_argument(option, default="")
        elif field.name in ("max_concurrent", "seed"):
            parser.add_argument(option, type=int, default=field.default)
        else:
            parser.add_argument(option, type=float, default=field.default)
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> None:
    host, _, port = arguments.upstream.rpartition(":")
    faults = Faults(**{field.name: getattr(arguments, field.name) for field in attrs.fields(Faults)})
    proxy = FaultProxy((host, int(port)), faults)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run, arguments.port)
            print(f"listening on {proxy.url}", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
    print(json.dumps(attrs.asdict(proxy.counts)), flush=True)


if __name__ == "__main__":
    trio.run(_main, _arguments())
