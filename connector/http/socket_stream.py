"""A connected byte stream, plain or TLS, that receives into and sends from the caller's memory.

The socket is non-blocking. Every call tries the system call first, and the task waits only where the kernel has no data
or no room. TLS is `ssl` on the socket itself, so that OpenSSL decrypts into the caller's buffer; memory BIOs, which
`trio.SSLStream` uses, cost half of the speed.
"""

from __future__ import annotations

import array
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
import trio

_CHECKPOINT_EVERY = 1 << 20
"""Bytes after which other tasks are scheduled even though the socket never had to be waited for."""

_SEND_SIZE = 1 << 18
"""Bytes offered to the socket in one call; a TLS socket encrypts all of them before it returns."""

_POLL_INTERVAL = 0.05
"""Seconds between two looks at what the peer has acknowledged of a body that was handed to the kernel."""

OnBytes = Callable[[int], None]
"""Called with the count of body bytes that moved since the last call."""

if sys.platform == "linux":
    import fcntl
    import termios


def unacknowledged(sock: socket.socket, platform: str = sys.platform) -> int:
    """Bytes in the send buffer that the peer has not acknowledged (`SIOCOUTQ`, tcp(7), which `TIOCOUTQ` equals).

    Elsewhere than on Linux always 0: what the kernel took counts as sent, and send buffers are small instead.
    """
    count = array.array("i", [0])
    if sys.platform == "linux" and platform == "linux":
        with suppress(OSError):  # the next system call will say what is wrong
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


class SocketStream:
    """One connection, for one reading and one writing task at a time.

    Args:
        sock: Connected and non-blocking; the stream owns it.
        peer: `host:port`, used in messages only.
        idle_timeout: Seconds that may pass without a byte in either direction before a call fails.
    """

    def __init__(self, sock: socket.socket, *, peer: str, idle_timeout: float) -> None:
        self.peer = peer
        self._sock = sock
        self._idle_timeout = idle_timeout
        self._since_checkpoint = 0
        self._is_tls = False
        self._reset: OSError | None = None

    @property
    def remote_address(self) -> str:
        """IP address of the other end."""
        return str(self._sock.getpeername()[0])

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What a later connection to the same server can resume (RFC 8446, section 2.2)."""
        return self._sock.session if isinstance(self._sock, ssl.SSLSocket) else None

    async def start_tls(
        self, context: ssl.SSLContext, server_hostname: str, session: ssl.SSLSession | None = None
    ) -> None:
        """Do the TLS handshake, resuming `session` if the server agrees. The caller sets the deadline.

        Raises:
            ssl.SSLError: The certificate or the protocol is not acceptable.
            OSError: The connection failed.
        """
        sock = context.wrap_socket(
            self._sock,
            server_hostname=server_hostname,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=session,
        )
        self._sock, self._is_tls = sock, True
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(sock)
            else:
                return

    async def recv_into(self, view: memoryview, idle_timeout: float | None = None) -> int:
        """Receive at least one byte into `view`.

        Args:
            view: Where the bytes go.
            idle_timeout: Replaces the stream's own.

        Returns:
            The count of bytes; 0 at the end of the stream.

        Raises:
            httpx.ReadError: The connection failed.
            httpx.ReadTimeout: No byte came in time.
        """
        if self._since_checkpoint >= _CHECKPOINT_EVERY:
            await self._checkpoint()
        while True:
            try:
                count = self._recv_available(view)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._wait(trio.lowlevel.wait_readable, httpx.ReadTimeout, idle_timeout)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable, httpx.ReadTimeout, idle_timeout)
            except OSError as error:
                raise httpx.ReadError(f"{_reason(error)}.") from error
            else:
                self._since_checkpoint += count
                return count

    async def send_all(self, view: memoryview, on_bytes: OnBytes | None = None) -> None:
        """Hand all of `view` to the kernel.

        `on_bytes` is told what the peer has acknowledged of it, on systems that do not tell what the kernel has taken.
        What is left at the end is what `wait_acknowledged` waits for.

        Raises:
            httpx.WriteError: The connection failed.
            httpx.WriteTimeout: No byte was taken in time.
        """
        position = reported = 0
        while position < len(view):
            if self._since_checkpoint >= _CHECKPOINT_EVERY:
                await self._checkpoint()
            # A TLS socket that could not send must be offered the very same bytes again (SSL_write(3)),
            # which holds here because the position moves only on success.
            piece = view[position : position + _SEND_SIZE]
            try:
                count = self._sock.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._wait(trio.lowlevel.wait_writable, httpx.WriteTimeout)
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable, httpx.WriteTimeout)
            except OSError as error:
                raise httpx.WriteError(f"{_reason(error)}.") from error
            else:
                position += count
                self._since_checkpoint += count
                if on_bytes is not None and (arrived := position - unacknowledged(self._sock) - reported) > 0:
                    reported += arrived
                    on_bytes(arrived)

    async def wait_acknowledged(self, left: int, on_bytes: OnBytes) -> None:
        """Wait until the peer has acknowledged the last `left` bytes that were sent, and report them as they go.

        Raises:
            httpx.WriteTimeout: None was acknowledged in time.
        """
        deadline = trio.current_time() + self._idle_timeout
        while left:
            arrived = left - min(unacknowledged(self._sock), left)
            if arrived:
                left -= arrived
                on_bytes(arrived)
                deadline = trio.current_time() + self._idle_timeout
            elif trio.current_time() >= deadline:
                raise httpx.WriteTimeout(f"no byte was acknowledged for {self._idle_timeout:g} seconds.")
            else:
                await trio.sleep(_POLL_INTERVAL)

    def is_idle(self) -> bool:
        """Look without waiting whether the peer has neither sent nor closed anything; a byte that it did send is lost.

        TLS reads its own records on the way: a session ticket in the socket is taken in without harm.
        """
        try:
            self._sock.recv_into(bytearray(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass  # reset
        return False

    def close(self) -> None:
        """Close at once, without TLS's close_notify: lengths tell where bodies end. May be called twice."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _recv_available(self, view: memoryview) -> int:
        """Receive what is there. OpenSSL returns one record of at most 16 KiB: take as many as there are."""
        if self._reset is not None:
            raise self._reset
        count = received = self._sock.recv_into(view)
        if not self._is_tls:
            return count
        while count and received < len(view):
            try:
                count = self._sock.recv_into(view[received:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                self._reset = error  # a socket reports its reset only once
                break
            received += count
        return received

    async def _checkpoint(self) -> None:
        self._since_checkpoint = 0
        await trio.lowlevel.checkpoint()

    async def _wait(
        self,
        readiness: Callable[[socket.socket], Awaitable[None]],
        timeout_error: type[httpx.TimeoutException],
        idle_timeout: float | None = None,
    ) -> None:
        self._since_checkpoint = 0
        seconds = self._idle_timeout if idle_timeout is None else idle_timeout
        with trio.move_on_after(seconds):
            try:
                await readiness(self._sock)
            except trio.BusyResourceError:
                # TLS may need to read in order to write while the reader waits for the same socket.
                await trio.sleep(0.01)
            return
        moved = "received" if timeout_error is httpx.ReadTimeout else "sent"
        raise timeout_error(f"no byte was {moved} for {seconds:g} seconds.")


def _reason(error: OSError) -> str:
    """What the operating system or OpenSSL says about a failure, for messages."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    return error.strerror or type(error).__name__
