"""Where a command's words go: sentences to standard error, results to standard output, secrets nowhere."""

from __future__ import annotations

import json
import re
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TextIO

HIDDEN = "[hidden]"

# Things that open a door to whoever reads them in a ticket: bearer tokens, signatures of presigned URLs, JSON web
# tokens, the two halves of an access token, passwords in URLs.
_SECRETS = re.compile(
    r"(?P<bearer>(?i:bearer)\s+)[^\s'\",]+"
    r"|(?P<query>(?i:x-amz-signature|x-amz-security-token|x-amz-credential|signature|awsaccesskeyid)=)[^&\s'\"]+"
    r"|(?P<jwt>)eyJ[\w-]{6,}\.[\w-]+\.[\w-]*"
    r"|(?P<sealed>[\w-]{3,}:)[A-Za-z0-9+/]{80,}={0,2}"
    r"|(?P<user>://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_SHORTEST_SECRET = 4
"""Shorter texts than this are not looked for: hiding every 'a' of a one letter passphrase would tell it."""


def redacted(text: str) -> str:
    """Return the text with whatever looks like a secret replaced."""
    return _SECRETS.sub(lambda match: next(part for part in match.groups() if part is not None) + HIDDEN, text)


def neutralised(text: str) -> str:
    """Return the text with control, format and surrogate characters shown as escapes.

    File names and an archive's answers reach the terminal only like this: they could move the cursor, recolour
    what stands there, or turn the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Console:
    """The two output streams of one command.

    ``clear`` is called before each line on the error stream: the progress line, where there is one, takes itself
    away and comes back with the next tick.
    """

    def __init__(self, out: TextIO, err: TextIO, *, quiet: bool = False, as_json: bool = False) -> None:
        self._out: TextIO | None = out
        self._err = err
        self.quiet = quiet
        self.as_json = as_json
        self.debug = False
        self.clear: Callable[[], None] = lambda: None
        self._known: set[str] = set()

    def hide(self, secret: str) -> None:
        """Never print this text from now on."""
        if len(secret) >= _SHORTEST_SECRET:
            self._known.add(secret)

    def clean(self, text: str) -> str:
        """Return the text as it may be shown: without secrets, without characters that act on a terminal."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return "\n".join(neutralised(line) for line in redacted(text).split("\n"))

    def tell(self, text: str) -> None:
        """Print a sentence for people, unless they asked for quiet."""
        if not self.quiet:
            self._error_line(text)

    def complain(self, text: str) -> None:
        """Print what went wrong, in any case."""
        self._error_line(text)

    def trace(self, error: BaseException) -> None:
        """Print the traceback of an error and of what caused it, if that was asked for."""
        if self.debug:
            self.complain("".join(traceback.format_exception(error)).rstrip())

    def result(self, text: str) -> None:
        """Print a line of what was asked for to standard output."""
        self._out_line(self.clean(text))

    def record(self, fields: Mapping[str, Any]) -> None:
        """Print one JSON object as a line to standard output, if that was asked for."""
        if self.as_json:
            # ASCII only: control characters come out as escapes, and no locale can stumble over it.
            line = json.dumps(fields, default=str, ensure_ascii=True)
            for secret in self._known:
                line = line.replace(secret, HIDDEN)
            self._out_line(redacted(line))

    def _error_line(self, text: str) -> None:
        self.clear()
        try:
            self._err.write(self.clean(text) + "\n")
            self._err.flush()
        except (BrokenPipeError, ValueError):
            pass  # Nobody listens any more; that is no reason to lose a transfer.

    def _out_line(self, text: str) -> None:
        if self._out is None:
            return
        self.clear()
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except BrokenPipeError:
            # The reader has gone. The transfer goes on; its outcome is the exit code.
            self._out = None
