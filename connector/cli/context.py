"""The environment of a command: streams, variables, clocks, prompts, state folder and the session.

Commands get it as one value, so that tests hand in their own instead of patching the process.
"""

from __future__ import annotations

import getpass
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

import attrs

if TYPE_CHECKING:
    from connector.clients.work_packages import AccessToken
    from connector.config import Settings
    from connector.crypt4gh.keys import KeyPair
    from connector.local.state_folder import StateFolder
    from connector.session import Session
    from connector.transfer.reporting import Observer

StandardInputKind = Literal["terminal", "pipe", "nothing"]


class StandardInput(Protocol):
    """Standard input as far as secrets are read from it."""

    def kind(self) -> StandardInputKind:
        """Return what it is connected to: a terminal, a pipe or file, or nothing."""

    def line(self, seconds: float) -> str | None:
        """Return the next line without its end, or None when it has ended or `seconds` have passed."""


class ProcessInput:
    """The standard input of this process, read a byte at a time so that no more is consumed than needed."""

    _LONGEST = 1 << 20

    def __init__(
        self, descriptor: int = 0, clock: Callable[[], float] = time.monotonic, *, platform: str = sys.platform
    ) -> None:
        self._descriptor = descriptor
        self._platform = platform
        self._clock = clock

    def kind(self) -> StandardInputKind:
        """Return what it is connected to; a closed one and `/dev/null` count as nothing."""
        try:
            if os.isatty(self._descriptor):
                return "terminal"
            mode = os.fstat(self._descriptor).st_mode
        except OSError:
            return "nothing"
        return "nothing" if stat.S_ISCHR(mode) else "pipe"

    def line(self, seconds: float) -> str | None:
        """Return the next line; never waits longer than `seconds` in all."""
        deadline = self._clock() + seconds
        line = bytearray()
        while len(line) < self._LONGEST:
            if self._platform != "win32":  # There, select takes sockets only.
                left = deadline - self._clock()
                if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                    return None
            byte = os.read(self._descriptor, 1)
            if not byte and not line:
                return None
            if not byte or byte == b"\n":
                break
            line += byte
        return line.decode("utf-8", "surrogateescape").rstrip("\r")


class OpenSession(Protocol):
    """`connector.session.open_session`, as commands call it."""

    def __call__(
        self,
        settings: Settings,
        keys: KeyPair,
        token: AccessToken,
        *,
        observer: Observer,
        state_folder: Path | None = None,
        accessions: Sequence[str] | None = None,
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session with an archive."""


def _open_session(*arguments: Any, **options: Any) -> AbstractAsyncContextManager[Session]:
    from connector.session import open_session  # loading it takes a while, and many commands do not need it

    return open_session(*arguments, **options)


def _users_state_folder() -> StateFolder:
    from connector.local.state_folder import StateFolder

    return StateFolder()


@attrs.frozen(kw_only=True)
class AppContext:
    """The environment of a command; by default that of the process."""

    environment: Mapping[str, str] = attrs.field(factory=lambda: os.environ, repr=False)
    stdin: StandardInput = attrs.field(factory=ProcessInput)
    out: TextIO | None = attrs.field(factory=lambda: sys.stdout)
    err: TextIO | None = attrs.field(factory=lambda: sys.stderr)
    err_is_terminal: bool = attrs.field(factory=lambda: _is_terminal(sys.stderr))
    input_descriptor: int = 0
    output_descriptor: int = 1
    has_terminal: Callable[[], bool] = lambda: _has_terminal()
    ask: Callable[[str], str] = getpass.getpass
    clock: Callable[[], float] = time.monotonic
    time_of_day: Callable[[], float] = time.time
    open_session: OpenSession = _open_session
    state_folder: Callable[[], StateFolder] = _users_state_folder


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _has_terminal() -> bool:
    """Whether the process has a terminal of which `getpass` can ask, whatever its standard streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True
