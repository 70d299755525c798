"""A connected byte stream, plain or TLS, that reads into and writes from the caller's memory.

The socket is non-blocking and every call first simply tries; only when the kernel has nothing (or no room)
does the task wait for it. TLS is ``ssl`` on the socket itself, so that OpenSSL decrypts into the caller's
buffer; memory BIOs, as :class:`trio.SSLStream` has them, cost half of the speed.
"""

from __future__ import annotations

import enum
import socket
import ssl
from collections.abc import Awaitable, Callable

import httpx
import trio

from connector.http.deadlines import Phase

_BREATH = 1 << 20
"""Bytes after which other tasks get their turn even though this one never had to wait."""

_SEND_AT_ONCE = 1 << 18
"""Bytes offered to the socket in one call; a TLS socket encrypts all of them before it returns."""

Progress = Callable[[int], None]


class IdleState(enum.Enum):
    """What a peer was found doing when nothing was expected of it."""

    QUIET = "said nothing"
    TALKING = "sent bytes that nobody asked for"
    GONE = "closed the connection"


class SocketStream:
    """One connection to ``peer`` (``host:port``, used in messages only). Not more than one reader and one writer."""

    def __init__(self, sock: socket.socket, *, peer: str) -> None:
        self.peer = peer
        self._sock = sock
        self._since_breath = 0
        self._closed = False
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._broken: OSError | None = None

    async def handshake(self) -> None:
        """Shake hands if this is a TLS socket. The caller sets the deadline.

        Raises :class:`ssl.SSLError` (certificate, protocol) and :class:`OSError`.
        """
        if not isinstance(self._sock, ssl.SSLSocket):
            return
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._sock)
            else:
                return

    async def recv_into(self, view: memoryview, idle: float) -> int:
        """Receive at least one byte into ``view`` and return how many; 0 means that the peer has finished.

        Raises :class:`httpx.ReadError` and, after ``idle`` seconds without a byte, :class:`httpx.ReadTimeout`.
        """
        if self._since_breath >= _BREATH:
            await self._breathe()
        while True:
            try:
                count = self._take(view)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._wait(trio.lowlevel.wait_readable, idle, Phase.READ)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable, idle, Phase.READ)
            except OSError as error:
                raise httpx.ReadError(f"The connection to {self.peer} broke: {_words(error)}.") from error
            else:
                self._since_breath += count
                return count

    async def send_all(self, view: memoryview, idle: float, progress: Progress | None = None) -> None:
        """Send all of ``view``; tell ``progress`` how many bytes each step moved.

        Raises :class:`httpx.WriteError` and, after ``idle`` seconds without a byte taken, :class:`httpx.WriteTimeout`.
        """
        position = 0
        while position < len(view):
            if self._since_breath >= _BREATH:
                await self._breathe()
            # A TLS socket that could not send must be offered the very same bytes again (SSL_write(3)),
            # which holds here because the position moves only on success.
            piece = view[position : position + _SEND_AT_ONCE]
            try:
                count = self._sock.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._wait(trio.lowlevel.wait_writable, idle, Phase.WRITE)
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable, idle, Phase.WRITE)
            except OSError as error:
                raise httpx.WriteError(f"The connection to {self.peer} broke: {_words(error)}.") from error
            else:
                position += count
                self._since_breath += count
                if progress is not None:
                    progress(count)

    def glance(self) -> IdleState:
        """Look without waiting whether the peer said anything; a byte that it did say is lost.

        Reading is a question that TLS answers, too: a session ticket in the socket is taken in without harm.
        """
        try:
            count = self._sock.recv_into(bytearray(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return IdleState.QUIET
        except OSError:
            return IdleState.GONE
        return IdleState.TALKING if count else IdleState.GONE

    def close(self) -> None:
        """Close at once, without a TLS farewell: nobody waits for it, and lengths tell where bodies end."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _take(self, view: memoryview) -> int:
        """Receive what is there. OpenSSL hands out one record of 16 KiB at most; as many as there are, then."""
        if self._broken is not None:
            raise self._broken
        count = taken = self._sock.recv_into(view)
        if not self._is_tls:
            return count
        while count and taken < len(view):
            try:
                count = self._sock.recv_into(view[taken:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                self._broken = error  # a socket tells of its reset only once
                break
            taken += count
        return taken

    async def _breathe(self) -> None:
        self._since_breath = 0
        await trio.lowlevel.checkpoint()

    async def _wait(self, readiness: Callable[[socket.socket], Awaitable[None]], idle: float, phase: Phase) -> None:
        self._since_breath = 0
        with trio.move_on_after(idle):
            try:
                await readiness(self._sock)
            except trio.BusyResourceError:
                # TLS may want to read in order to write while the reader waits for the same thing: look again soon.
                await trio.sleep(0.01)
            return
        raise phase.timeout(f"{self.peer} was silent for {idle:g} seconds; {phase.value}.")


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    return error.strerror or type(error).__name__
