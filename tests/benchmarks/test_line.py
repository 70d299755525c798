"""The line of the benchmarks does what it says: delay, windows, capacity, counts and faults."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers.line import Conditions, Line
from persistence.testing.servers.processes import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
SIZE = 1 << 20


@contextlib.contextmanager
def served(folder: Path, conditions: Conditions) -> Iterator[tuple[Line, int]]:
    """A line to a server that answers each byte with a mebibyte; gives the line and the port of its entrance."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while peer.recv(1):
                peer.sendall(bytes(SIZE))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    port = free_port()
    with listener, Line(conditions, {port: listener.getsockname()[1]}, folder) as line:
        yield line, port
        listener.shutdown(socket.SHUT_RDWR)


def ask(client: socket.socket) -> float:
    """Seconds until the whole answer has come."""
    began = time.monotonic()
    client.sendall(b"x")
    left = SIZE
    while left:
        left -= len(client.recv(left)) or left
    return time.monotonic() - began


def test_windows_open_and_round_trips_are_counted(tmp_path: Path) -> None:
    with served(tmp_path, Conditions(100, 4, 100)) as (line, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            # A handshake, a round trip for the question, and windows of 64, 128, 256, 512 KiB and the rest.
            assert ask(client) > 0.55
            seconds = ask(client)
            wait_until(lambda: line.moments()[-1].entrances[0].down == 2 * SIZE)
            moment = line.moments()[-1]
            # On a machine that is busy, one of several is not held up.
            wait_until(lambda: seconds < 0.3 or ask(client) < 0.3)
    (seen,) = moment.entrances
    assert (seen.up, seen.open) == (2, 1)
    assert (seen.first_up, seen.first_down) == (1, 2)
    assert moment.round_trips == 3


def test_the_capacity_is_shared_and_changes(tmp_path: Path) -> None:
    with served(tmp_path, Conditions(2, 4, 4, ("-C", "1e6", "-T", "0.5", "-U", "60"))) as (_, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert ask(client) > 0.2
            assert ask(client) + ask(client) > 0.6  # at full capacity it would be 0.5


def test_connections_above_a_number_are_refused(tmp_path: Path) -> None:
    with served(tmp_path, Conditions(2, 4, 100, ("-n", "1"))) as (line, port):
        with (
            socket.create_connection(("127.0.0.1", port)) as first,
            socket.create_connection(("127.0.0.1", port)) as second,
        ):
            assert ask(first) < 60
            second.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert second.recv(1000).startswith(b"HTTP/1.1 503 ")
            wait_until(lambda: line.moments()[-1].refusals)
            first.close()
            wait_until(lambda: line.moments()[-1].entrances[0].open == 1)
            with socket.create_connection(("127.0.0.1", port)) as third:
                assert ask(third) < 60, "a refused connection that is still open is none of those that are served"
    assert line.moments()[-1].refusals == 1


def test_connections_are_reset_at_random(tmp_path: Path) -> None:
    with served(tmp_path, Conditions(2, 4, 100, ("-r", "0.1"))) as (line, port):
        with socket.create_connection(("127.0.0.1", port)) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_until(lambda: line.moments()[-1].resets)
        assert line.moments()[-1].resets == 1
