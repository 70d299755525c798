"""A line to a MongoDB server that stops a process in the middle of a transaction."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_COMMIT = b"commitTransaction"


class StoppingProxy:
    """Passes bytes on to a server; when armed, it stops a process whose next commit comes by, and keeps that commit.

    So everything that the transaction has changed stays locked: what the server knows is that a client has an open
    transaction and is silent.
    """

    def __init__(self, upstream: tuple[str, int], *, port: int = 0) -> None:
        self._upstream = upstream
        self._victim: int | None = None
        self.stopped = threading.Event()
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]

    def arm(self, pid: int) -> None:
        """Stop this process at its next commit."""
        self._victim = pid

    def release(self) -> None:
        """Pass the commit on that was kept."""
        self._released.set()

    @contextmanager
    def running(self) -> Iterator[StoppingProxy]:
        """Accept connections until the end of the block."""
        thread = threading.Thread(target=self._accept)
        thread.start()
        try:
            yield self
        finally:
            self.release()
            # Wakes the thread up, which closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source, target, suppress(OSError):
            while data := source.recv(1 << 16):
                victim = self._victim
                if victim is not None and _COMMIT in data:
                    self._victim = None
                    os.kill(victim, signal.SIGSTOP)
                    self.stopped.set()
                    self._released.wait()
                target.sendall(data)
