"""The archive in memory on a real socket, and a user at the command line who talks to it.

The archive runs in a thread of its own; commands run in this one, as in a process, with what they print kept. Those of
another version (`tests.support.program`) run in processes.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE
from connector.session import Components, open_session
from connector.transfer import Backoff, Retrier
from tests.support.contract_client import unseal
from tests.support.desk import Desk
from tests.support.fake_archive import BASE, ENVELOPE, STORAGE, FakeArchive, _kind
from tests.support.http_messages import Body, Head, Messages
from tests.support.program import NAMED, Program

Scene = Callable[[trio.SocketStream, httpx.Request], Awaitable[None]]
"""Answers one request by hand; the connection ends with it."""


@attrs.define
class _Planned:
    kind: str
    scene: Scene
    times: int


class ServedFake:
    """Serves a :class:`FakeArchive` at ``url``; what it says about itself leads there too.

    With ``discards`` it counts the bytes of each part in ``received`` and keeps none of them.
    """

    def __init__(self, archive: FakeArchive) -> None:
        self.archive = archive
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self.storage_url: str | None = None
        """Where its storage is reached, if not at ``url``."""
        self.connections = 0
        self.discards = False
        self.received: dict[int, int] = {}
        self.targets: list[str] = []
        """What was asked for, as it was asked for. What lies below ``/moved`` is the same as without it."""
        self._planned: list[_Planned] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, kind: str, scene: Scene, *, times: int = 1) -> None:
        """Have a scene answer the next requests of this kind."""
        self._planned.append(_Planned(kind, scene, times))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, connected: trio.SocketStream) -> None:
        self.connections += 1
        stream: Any = connected if self.tls is None else trio.SSLStream(connected, self.tls, server_side=True)
        messages = Messages(stream)
        try:
            while (head := await messages.head()) is not None:
                if self.discards and head.start[0] == "PUT":
                    await self._discard(stream, head, messages)
                    continue
                await self._answer(stream, await self._request(head, messages))
        except (trio.BrokenResourceError, trio.ClosedResourceError, _Ended):
            pass
        finally:
            await trio.aclose_forcefully(connected)

    async def _request(self, head: Head, messages: Messages) -> httpx.Request:
        body = Body(messages, length=head.length or 0, chunked=head.is_chunked)
        content = bytearray()
        while (piece := await body.next()) is not None:
            content += piece[0] if piece[1] else b""
        self.targets.append(head.start[1])
        target = head.start[1].removeprefix("http://archive.test").removeprefix("/moved")
        base = STORAGE if target.startswith("/storage/") else BASE
        return httpx.Request(
            head.start[0], base + target.removeprefix("/storage"), headers=head.fields, content=bytes(content)
        )

    async def _discard(self, stream: trio.SocketStream, head: Head, messages: Messages) -> None:
        body, size = Body(messages, length=head.length, chunked=False, piece=1 << 20), 0
        while (piece := await body.next()) is not None:
            size += len(piece[0])
        if body.finished:
            self.received[int(httpx.URL(head.start[1]).params["partNumber"])] = size
            await stream.send_all(response(200, ETag='"discarded"'))

    async def _answer(self, stream: trio.SocketStream, request: httpx.Request) -> None:
        kind = _kind(request)
        for planned in self._planned:
            if planned.kind == kind and planned.times:
                planned.times -= 1
                await planned.scene(stream, request)
                raise _Ended
        await self.answer(stream, request)

    async def answer(self, stream: trio.SocketStream, request: httpx.Request) -> None:
        """Answer as the archive does, also at the end of a scene."""
        kind = _kind(request)
        try:
            reply = await self.archive(request)
            body = await reply.aread()
        except httpx.ReadError:
            reset(stream)
            raise _Ended from None
        if kind not in ("get", "put"):
            storage = self.storage_url or f"{self.url}/storage"
            body = body.replace(STORAGE.encode(), storage.encode()).replace(BASE.encode(), self.url.encode())
        fields = [field for field in reply.headers.multi_items() if field[0].lower() != "content-length"]
        await stream.send_all(response(reply.status_code, body, *fields))


class _Ended(Exception):
    """This connection is over."""


def response(
    status: int, body: bytes = b"", *pairs: tuple[str, str], length: int | None = None, **fields: str
) -> bytes:
    """A response; ``length`` to lie about its size. Underscores in the names of ``fields`` stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(status: int, body: bytes = b"", **fields: Any) -> Scene:
    """A scene that sends one response."""

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        await stream.send_all(response(status, body, **fields))
        await stream.send_eof()

    return scene


async def resetting(stream: trio.SocketStream, request: httpx.Request) -> None:
    """A scene: the connection is reset."""
    reset(stream)


async def silent(stream: trio.SocketStream, request: httpx.Request) -> None:
    """A scene: nothing comes, ever."""
    with trio.move_on_after(30):
        while await stream.receive_some(65536):
            pass


def endless(head: bytes, piece: bytes) -> Scene:
    """A scene: ``head``, then ``piece`` for ever."""

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        await stream.send_all(head)
        with trio.move_on_after(30):
            while True:
                await stream.send_all(piece)

    return scene


def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@contextmanager
def serving(server: ServedFake) -> Iterator[ServedFake]:
    """Run the server in a thread for the length of the block."""
    ready = threading.Event()
    ends: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            ends.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=lambda: trio.run(main), name="archive in memory")
    thread.start()
    try:
        assert ready.wait(60)
        yield server
    finally:
        for token, scope in ends:
            token.run_sync_soon(scope.cancel)
        thread.join(60)
        assert not thread.is_alive()


@attrs.frozen
class Said:
    """What became of one command."""

    code: int
    out: str
    err: str


class User:
    """A user of the archive in memory, at a command line; the key pair is ``u.sec`` and ``u.pub`` in ``folder``."""

    PART = 2 * CIPHER_SEGMENT_SIZE
    PLAIN = 2 * SEGMENT_SIZE

    def __init__(self, folder: Path, server: ServedFake) -> None:
        self.folder = folder
        self.server = server
        self.archive = server.archive
        self.out = folder / "out"
        self.components = Components()

    def download(self, *arguments: object, **environment: str) -> Said:
        self.archive.package_type = "download"
        return self.run("download", "--output-dir", self.out, *arguments, **environment)

    def upload(self, *arguments: object, **environment: str) -> Said:
        self.archive.package_type = "upload"
        return self.run("upload", *arguments, **environment)

    def run(self, command: str, *arguments: object, **environment: str) -> Said:
        """Run a command with the settings that these tests use; ``environment`` overrides them."""
        settings = {
            "CONNECTOR_WKVS_URL": f"{self.server.url}/wkvs",
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(self.folder / "u.sec"),
            "CONNECTOR_MY_PUBLIC_KEY_PATH": str(self.folder / "u.pub"),
            "CONNECTOR_ACCESS_TOKEN": self.archive.access_token,
            "CONNECTOR_PART_SIZE": str(self.PART),
            "CONNECTOR_MAX_CONCURRENCY": "2",
            "CONNECTOR_RETRIES": "3",
            "CONNECTOR_READ_TIMEOUT": "30",
        }
        settings |= environment
        if NAMED:
            done = Program(Path.cwd(), settings).run(command, *arguments)
            return Said(done.code, done.out, done.err)
        # Waits as long as by default, in a tenth of the time.
        retrier = Retrier(attempts=int(settings["CONNECTOR_RETRIES"]) + 1, backoff=Backoff(base=0.05, cap=3.0))
        components = attrs.evolve(self.components, retrier=retrier)
        desk = Desk(environment=settings, open_session=partial(open_session, components=components))
        code = desk.run(command, *arguments)
        return Said(code, desk.out.getvalue(), desk.err.getvalue())

    @property
    def names(self) -> list[str]:
        """What lies in the output folder."""
        return sorted(os.listdir(self.out)) if self.out.is_dir() else []

    def is_whole(self, accession: str = "GHGAF01") -> bool:
        """Whether the sealed download of a file has all its bytes."""
        stored = self.archive.files[accession]
        content = (self.out / f"{accession}{stored.extension}.c4gh").read_bytes()
        return unseal(content[:ENVELOPE], content[ENVELOPE:], self.archive.user.private) == stored.plaintext
