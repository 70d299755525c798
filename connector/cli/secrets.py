"""The secrets of a user: the access token of a work package, private keys and their passphrases.

Token and passphrase come from a file, the environment, standard input or a hidden prompt, and never from the command
line, which every other user of the machine can read.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from connector.cli.console import Console
from connector.config import Settings, parse_path
from connector.errors import UsageError
from connector.local.disk import local_failures, read_small_file

if TYPE_CHECKING:
    from connector.crypt4gh.keys import KeyPair

TOKEN_VARIABLE = "CONNECTOR_ACCESS_TOKEN"
PASSPHRASE_VARIABLE = "CONNECTOR_PASSPHRASE"

PIPE_TIMEOUT = 30.0
"""Seconds in which a piped secret must arrive; then it is an error."""


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


def has_terminal() -> bool:
    """Whether the process has a terminal of which `getpass` can ask, whatever its standard streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


class Secrets:
    """Reads the secrets of one command, each when it is first needed, and lets the console hide them.

    `ask` prompts for one; `can_ask` tells whether it can although standard input is no terminal. `input_is_data`:
    standard input is what the command works on, so that no secret is read from it.
    """

    def __init__(
        self,
        settings: Settings,
        console: Console,
        *,
        environment: Mapping[str, str],
        stdin: StandardInput,
        ask: Callable[[str], str],
        can_ask: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._console = console
        self._environment = environment
        self._stdin = stdin
        self._prompt = ask
        self._has_terminal = can_ask
        self.input_is_data = False

    def access_token(self) -> str:
        """Return the access token as the archive gave it, `PACKAGE_ID:ENCRYPTED`.

        Looked for in `--token-file`, `CONNECTOR_ACCESS_TOKEN`, standard input if something is piped in, and at
        last a hidden prompt.

        Raises:
            UsageError: When there is none.
        """
        given = self._given(self._settings.token_file, TOKEN_VARIABLE, "token")
        if given is None and self._stdin.kind() == "pipe":
            given = self._piped("access token")
        if given is None and self._stdin.kind() == "terminal":
            given = self._asked("Access token of the work package: ")
        token = (given or "").strip()
        if not token:
            raise UsageError(
                "No access token is given.",
                hint=f"Set {TOKEN_VARIABLE}, name a file with --token-file, or pipe it in.",
            )
        self._console.hide(token)
        self._console.hide(token.partition(":")[2])
        return token

    def passphrase(self, *, new: bool = False, of: Path | None = None) -> str:
        """Return the passphrase of the private key, or of a `new` one: that is typed twice.

        The prompt names the key `of` which it is. Looked for in `--passphrase-file`, `CONNECTOR_PASSPHRASE` and a
        hidden prompt.

        Raises:
            UsageError: When there is none, and when a new one was typed in two ways.
        """
        given = self._given(self._settings.passphrase_file, PASSPHRASE_VARIABLE, "passphrase")
        if given is None and self._can_ask():
            key = "your private key" if of is None else of
            given = self._asked(f"Passphrase {'for the new private key' if new else f'of {key}'}: ")
            if new and given and self._asked("The same again: ") != given:
                raise UsageError("The two passphrases differ.", hint="Nothing was written; try again.")
        if not given:
            message = "Your private key is protected and no passphrase is given."
            raise UsageError(
                "No passphrase for the new private key is given." if new else message,
                hint=f"Set {PASSPHRASE_VARIABLE} or name a file with --passphrase-file"
                + (", or choose --nocrypt." if new else "."),
            )
        self._console.hide(given)
        return given

    def own_keys(self) -> KeyPair:
        """Read the private key that the settings name; prompts for its passphrase if it has one.

        Raises:
            UsageError: When no key is named, and when the public key that is named belongs to another one.
        """
        path = self._settings.my_private_key_path
        if path is None:
            raise UsageError(
                "No private key is given.",
                hint="Give it with --my-private-key-path or CONNECTOR_MY_PRIVATE_KEY_PATH; connector keygen makes one.",
            )
        keys = _read_pair(path, self.passphrase)
        self._check_public_key([path], [keys])
        return keys

    def own_private_keys(self, names: Sequence[str]) -> list[bytes]:
        """Read the private keys of these names, or the one that the settings name; prompts for their passphrases.

        Raises:
            UsageError: As `own_keys`.
        """
        if not names:
            return [self.own_keys().private]
        try:
            paths = [parse_path(name) for name in names]
        except ValueError as error:
            raise UsageError(f"--my-private-key-path: {error}.") from None
        pairs = [_read_pair(path, partial(self.passphrase, of=path)) for path in paths]
        self._check_public_key(paths, pairs)
        return [pair.private for pair in pairs]

    def _check_public_key(self, paths: Sequence[Path], pairs: Sequence[KeyPair]) -> None:
        """Raise `UsageError` if the settings name a public key of none of the pairs, which were read from `paths`."""
        public = self._settings.my_public_key_path
        if public is None:
            return
        from connector.local.key_files import read_public_key

        if read_public_key(public) not in [pair.public for pair in pairs]:
            raise UsageError(
                f"{public} is not the public key of {' or '.join(map(str, paths))}.",
                hint="Name the two files of one pair; the public key may also be left out.",
            )

    def _given(self, file: Path | None, variable: str, what: str) -> str | None:
        if file is not None:
            if str(file) == "-":
                return self._piped(what)
            return _first_line(file, what)
        return self._environment.get(variable) or None

    def _can_ask(self) -> bool:
        return self._has_terminal() if self.input_is_data else self._stdin.kind() == "terminal"

    def _piped(self, what: str) -> str:
        if self.input_is_data:
            raise UsageError(
                f"Standard input (-) cannot be both the data and the {what}.", hint="Give the secret by a file."
            )
        with local_failures("read", "standard input"):
            line = self._stdin.line(PIPE_TIMEOUT)
        if line is None:
            raise UsageError(
                f"Standard input ended, or gave no {what} within {PIPE_TIMEOUT:.0f} seconds.",
                hint=f"Pipe the {what} in as one line, or give it another way; see --help.",
            )
        return line.removeprefix("\ufeff")

    def _asked(self, prompt: str) -> str:
        try:
            return self._prompt(prompt)
        except EOFError:
            return ""


def _read_pair(path: Path, passphrase: Callable[[], str]) -> KeyPair:
    # Here, since most commands need no keys, and what opens them takes long to import.
    from connector.crypt4gh.keys import KeyPair
    from connector.local.key_files import read_private_key

    return KeyPair.of(read_private_key(path, passphrase))


def _first_line(file: Path, what: str) -> str:
    content = read_small_file(file, f"{what} file")
    try:
        line = content.decode("utf-8").strip("\r\n").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        line = ""
    if not line:
        raise UsageError(f"The {what} file {file} holds no line of text that could be a {what}.")
    return line
