"""The server itself: raw sockets against real connections."""

from __future__ import annotations

import gc
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connector.archive.server import ServerSettings, open_listener, serve, url_of
from connector.errors import LocalError
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.trio

App = Callable[[Any, Any, Any], Awaitable[None]]


def http_only(app: App) -> App:
    """The application for requests; without the lifespan protocol, as ASGI allows."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await app(scope, receive, send)

    return call


@asynccontextmanager
async def served(app: App, **settings: float) -> AsyncIterator[tuple[str, int]]:
    listener = open_listener("127.0.0.1", 0)
    stop = trio.Event()
    host, port = listener.getsockname()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, http_only(app), listener, stop=stop, settings=ServerSettings(**settings)))
        try:
            yield host, port
        finally:
            stop.set()


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def answer(send: Any, body: bytes = b"", status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo_size(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes in the body and their sum."""
    size = total = 0
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        size += len(message["body"])
        total += sum(message["body"])
    await answer(send, f"{size} {total}".encode())


@pytest.mark.parametrize("size", [0, 1, 300_000, 1024**2, 1024**2 + 1, 1024**2 + 2, 5 * 1024**2 + 17])
async def test_bodies_of_any_size_arrive_whole_and_the_connection_lives_on(size: int) -> None:
    body = os.urandom(size)
    request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body
    async with served(echo_size) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream, trio.open_nursery() as nursery:
            # Two requests in one go: what follows the first body belongs to the second request.
            nursery.start_soon(stream.send_all, request + request + b"")
            received = b""
            with trio.fail_after(PATIENCE):
                while received.count(b"%d %d" % (size, sum(body))) < 2:
                    received += await stream.receive_some()


async def test_a_chunked_body() -> None:
    async with served(echo_size) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(
                b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            )
            for _ in range(3):
                await stream.send_all(b"100000\r\n" + b"\1" * 0x100000 + b"\r\n")
            await stream.send_all(b"0\r\n\r\n")
            with trio.fail_after(PATIENCE):
                assert (await read_all(stream)).endswith(b"\r\n\r\n3145728 3145728")


async def test_a_client_that_waits_for_leave_to_send() -> None:
    async with served(echo_size) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(
                b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n"
                b"Connection: close\r\n\r\n"
            )
            with trio.fail_after(PATIENCE):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
                await stream.send_all(b"\1" * 2_000_000)
                assert (await read_all(stream)).endswith(b"2000000 2000000")


def endless(outcomes: list[str]) -> App:
    """Responds with more than any client takes, and notes how it ended."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 10**12)]})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1024**2), "more_body": True})
        finally:
            outcomes.append("ended")

    return app


async def test_a_client_that_stops_reading_is_disconnected() -> None:
    outcomes: list[str] = []
    async with served(endless(outcomes), idle_timeout=0.2) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with trio.fail_after(PATIENCE):
                while not outcomes:
                    await trio.sleep(0.01)
                with suppress(trio.BrokenResourceError):
                    await read_all(stream)


async def test_a_client_that_reads_slowly_is_not_disconnected(mock_clock: MockClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 2**25)]})
        for left in reversed(range(64)):
            await send({"type": "http.response.body", "body": bytes(2**19), "more_body": left > 0})

    async with served(app, idle_timeout=0.4) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received, began = 0, trio.current_time()
            while data := await stream.receive_some(1024**2):
                received += len(data)
                await wait_all_tasks_blocked(0.005)  # all is sent that there is room for
                mock_clock.jump(0.03)
            assert trio.current_time() - began > 0.8
    assert received > 2**25


async def test_a_server_stops_although_a_client_does_not_read() -> None:
    outcomes: list[str] = []
    with trio.fail_after(PATIENCE):
        async with served(endless(outcomes), grace=0.1) as address:
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.sleep(0.1)
    await stream.aclose()
    assert outcomes == ["ended"]


@pytest.mark.parametrize("sent", [10, 3 * 1024**2])
async def test_a_client_that_stops_sending_is_told_so(sent: int) -> None:
    outcomes: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        finally:
            outcomes.append("ended")

    async with served(app, idle_timeout=0.2) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + bytes(sent))
            with trio.fail_after(PATIENCE):
                assert (await read_all(stream)).startswith(b"HTTP/1.1 408 ")
    assert outcomes == ["ended"]


async def test_a_head_that_is_too_large_or_too_slow() -> None:
    async with served(echo_size, keep_alive=0.3) as address:
        for head, status in ((b"x" * 70_000, b"HTTP/1.1 431 "), (b"Host: x\r\n", b"")):
            stream = await trio.open_tcp_stream(*address)
            async with stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nX: " + head)
                with trio.fail_after(PATIENCE):
                    assert (await read_all(stream)).startswith(status)


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(mock_clock: MockClock) -> None:
    """Idle is the time since the last answer, also when one took longer than connections may be idle."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            mock_clock.jump(0.6)
            await wait_all_tasks_blocked()
        await answer(send, b"done")

    ended: list[bytes] = []

    async def wait_for_the_end() -> None:
        ended.append(await stream.receive_some())

    async with served(app, keep_alive=0.3) as address:
        stream = await trio.open_tcp_stream(*address)
        async with stream, trio.open_nursery() as nursery:
            for path in (b"/slow", b"/quick", b"/slow"):
                await stream.send_all(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                answered = b""
                while not answered.endswith(b"done"):
                    answered += await stream.receive_some()
                    assert answered
                mock_clock.jump(0.1)
            began = trio.current_time()
            nursery.start_soon(wait_for_the_end)
            while not ended:
                assert trio.current_time() - began < 3
                await wait_all_tasks_blocked(0.01)
                mock_clock.jump(0.1)
            assert trio.current_time() - began > 0.1
    assert ended == [b""]


async def test_connections_of_clients_that_are_gone_are_closed() -> None:
    """After the time of an idle one at the latest: each holds a descriptor."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")

    gc.collect()  # earlier tests may have left some to it
    before = len(os.listdir("/dev/fd"))
    async with served(app, keep_alive=0.5) as address:
        for request in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") * 40:
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(request or b"\r\n")
            if request:
                await stream.receive_some()
            await stream.aclose()
        with trio.fail_after(PATIENCE):
            while len(os.listdir("/dev/fd")) > before + 6:
                await trio.sleep(0.02)


async def test_idle_connections_end_at_once_when_the_server_stops() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")

    began = trio.current_time()
    async with served(app, keep_alive=60, grace=30) as address:
        fresh = await trio.open_tcp_stream(*address)
        used = await trio.open_tcp_stream(*address)
        await used.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await used.receive_some()).startswith(b"HTTP/1.1 200")
        await trio.sleep(0.05)
    assert trio.current_time() - began < 25
    await fresh.aclose()
    await used.aclose()


async def test_answers_under_way_are_finished_when_the_server_stops() -> None:
    reached, go_on = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await go_on.wait()
        await answer(send, b"done")

    listener = open_listener("127.0.0.1", 0)
    address = listener.getsockname()
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, http_only(app), listener, stop=stop, settings=ServerSettings(grace=60)))
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reached.wait()
            stop.set()
            await until(lambda: listener.fileno() < 0)
            with pytest.raises(OSError, match="all attempts"):
                await trio.open_tcp_stream(*address)
            go_on.set()
            with trio.fail_after(PATIENCE):
                assert (await read_all(stream)).endswith(b"done")


async def test_an_answer_that_takes_too_long_is_cut_off_when_the_server_stops() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        async with served(app, grace=0.1) as address:
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.sleep(0.05)
    await stream.aclose()


async def test_a_port_that_is_taken() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        # A server that still waits for its database refuses connections.
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        with open_listener("127.0.0.1", port) as other:
            other.listen()
            with pytest.raises(LocalError, match=f"port {port}"):
                await serve(http_only(echo_size), listener, stop=trio.Event())
            with pytest.raises(LocalError, match=f"port {port}"):
                open_listener("127.0.0.1", port)


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
async def test_the_url_of_a_listener(host: str, name: str) -> None:
    with open_listener(host, 0) as listener:
        assert url_of(listener, host) == f"http://{name}:{listener.getsockname()[1]}"


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="counts descriptors in /dev/fd")
@pytest.mark.parametrize("ending", ["close", "reset", "half"])
async def test_connections_end_when_their_clients_close_them(ending: str) -> None:
    async with served(echo_size) as address:
        before = len(os.listdir("/dev/fd"))
        for request in (b"", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"):
            stream = await trio.open_tcp_stream(*address)
            async with stream:
                if request:
                    await stream.send_all(request)
                if ending == "half":
                    await stream.send_eof()
                    with trio.fail_after(PATIENCE):
                        received = await read_all(stream)
                    assert received.endswith(b"1 120") or not request
                elif request:
                    await stream.receive_some()
                if ending == "reset":
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with trio.fail_after(PATIENCE):
            while len(os.listdir("/dev/fd")) > before:
                await trio.sleep(0.01)
