"""The two secrets of a user: the access token of a work package and the passphrase of a private key.

They come from a file, the environment, standard input or a hidden prompt, and never from the command line, which
every other user of the machine can read.
"""

from __future__ import annotations

from pathlib import Path

from connector.cli.console import Console
from connector.cli.context import AppContext
from connector.config import Settings
from connector.errors import UsageError
from connector.local.failures import local_failures
from connector.local.small_file import read_small_file

TOKEN_VARIABLE = "CONNECTOR_ACCESS_TOKEN"
PASSPHRASE_VARIABLE = "CONNECTOR_PASSPHRASE"

PIPE_TIMEOUT = 30.0
"""Seconds in which a piped secret must arrive; then it is an error."""


class Secrets:
    """Reads the secrets of one command, each when it is first needed, and lets the console hide them.

    `input_is_data`: standard input is what the command works on, so that no secret is read from it.
    """

    def __init__(self, settings: Settings, context: AppContext, console: Console) -> None:
        self._settings = settings
        self._context = context
        self._console = console
        self.input_is_data = False

    def access_token(self) -> str:
        """Return the access token as the archive gave it, `PACKAGE_ID:ENCRYPTED`.

        Looked for in `--token-file`, `CONNECTOR_ACCESS_TOKEN`, standard input if something is piped in, and at
        last a hidden prompt.

        Raises:
            UsageError: When there is none.
        """
        given = self._given(self._settings.token_file, TOKEN_VARIABLE, "token")
        if given is None and self._context.stdin.kind() == "pipe":
            given = self._piped("access token")
        if given is None and self._context.stdin.kind() == "terminal":
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

    def _given(self, file: Path | None, variable: str, what: str) -> str | None:
        if file is not None:
            if str(file) == "-":
                return self._piped(what)
            return _first_line(file, what)
        return self._context.environment.get(variable) or None

    def _can_ask(self) -> bool:
        return self._context.has_terminal() if self.input_is_data else self._context.stdin.kind() == "terminal"

    def _piped(self, what: str) -> str:
        if self.input_is_data:
            raise UsageError(
                f"Standard input (-) cannot be both the data and the {what}.", hint="Give the secret by a file."
            )
        with local_failures("read", "standard input"):
            line = self._context.stdin.line(PIPE_TIMEOUT)
        if line is None:
            raise UsageError(
                f"Standard input ended, or gave no {what} within {PIPE_TIMEOUT:.0f} seconds.",
                hint=f"Pipe the {what} in as one line, or give it another way; see --help.",
            )
        return line.removeprefix("\ufeff")

    def _asked(self, prompt: str) -> str:
        try:
            return self._context.ask(prompt)
        except EOFError:
            return ""


def _first_line(file: Path, what: str) -> str:
    content = read_small_file(file, f"{what} file")
    try:
        line = content.decode("utf-8").strip("\r\n").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        line = ""
    if not line:
        raise UsageError(f"The {what} file {file} holds no line of text that could be a {what}.")
    return line
