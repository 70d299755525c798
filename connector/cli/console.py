"""The output of a command: messages to standard error, results to standard output, secrets to neither."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import shutil
import sys
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

HIDDEN = "[hidden]"

# What grants access to every reader of a ticket: bearer tokens, signatures of presigned URLs, JSON web
# tokens, the two halves of an access token, passwords in URLs.
_SECRETS = re.compile(
    r"(?P<bearer>(?i:bearer)\s+)[^\s'\",]+"
    r"|(?P<query>(?i:x-amz-signature|x-amz-security-token|x-amz-credential|signature|awsaccesskeyid)=)[^&\s'\"]+"
    r"|(?P<header>(?i:x-amz-security-token)['\"]?: ?b?['\"]?)[^\s'\",]+"
    r"|(?P<jwt>)eyJ[\w-]{6,}\.[\w-]+\.[\w-]*"
    r"|(?P<sealed>[\w-]{3,}:)[A-Za-z0-9+/]{80,}={0,2}"
    r"|(?P<user>://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_SHORTEST_SECRET = 20
"""Shortest secret that is hidden in messages, in characters without white space. See `Console.hide`."""
_FREE_TEXT = frozenset({"message", "hint", "failure_reason"})
"""Keys of JSON objects whose values are messages. No other value is altered: names, paths, numbers and digests are the
requested output, and contain no secrets."""


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


_STEPS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def amount(size: float) -> str:
    """Format a number of bytes: `1.23 GB` (powers of ten, like the MB/s beside it)."""
    for unit, factor in _STEPS:
        if size >= factor:
            return f"{size / factor:.2f} {unit}" if size < 100 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} B"


def span(seconds: float) -> str:
    """Format a duration: `0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_PIPE_BUF = 512
"""Bytes that a pipe takes at once where it takes any (POSIX, `PIPE_BUF` at least)."""


class OutputStream:
    """Writes to a stream and never raises. `failure` states why something was not written; empty if all was.

    Each text is written at once and past Python's buffers, which would keep what a full disk did not take and raise
    again at the next text. A pipe that another program has made non-blocking is waited for like any other.

    Attributes:
        patience: Seconds for which a pipe that is full is waited for; None for any time. A server must not stop because
            its log is not read: lines that do not fit are dropped and counted then.
    """

    def __init__(self, stream: TextIO | None, *, platform: str = sys.platform) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream, platform)
        self._torn = False
        self._dropped = 0
        self.patience: float | None = None
        self.failure = "" if stream is not None else "it is closed"

    def size(self) -> os.terminal_size:
        """Return the columns and lines of the terminal, or the defaults if they are not known."""
        usual = shutil.get_terminal_size()
        if self._descriptor is None:
            return usual
        try:
            found = os.get_terminal_size(self._descriptor)
        except OSError:
            return usual
        return os.terminal_size((found.columns or usual.columns, found.lines or usual.lines))

    def in_foreground(self) -> bool:
        """Return whether this process is in the foreground of its terminal, unlike a shell's background job."""
        if sys.platform != "win32" and self._descriptor is not None:
            with suppress(OSError):  # it is not the terminal that controls this process
                return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        return True

    def encodable(self, text: str) -> str:
        """Return the text with escapes for characters that the stream cannot encode."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def write(self, text: str) -> None:
        """Write as much of the text as possible."""
        if self._stream is None:
            return
        text = self.encodable(text)
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            else:
                self._write_all(self._descriptor, text.encode(self._stream.encoding or "utf-8"))
        except _NotReadError:
            self._dropped += 1
        except (OSError, ValueError, MemoryError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            self.failure = said or ("there is no memory left" if isinstance(error, MemoryError) else "it is gone")

    def _write_all(self, descriptor: int, content: bytes) -> None:
        if self._dropped:
            content = b"%d line(s) are missing here, since they were not read.\n" % self._dropped + content
        if self._torn:  # end a truncated line before the next one
            content = b"\n" + content
        left = memoryview(content)
        try:
            while left:
                try:
                    left = left[os.write(descriptor, self._next_piece(descriptor, left)) :]
                except BlockingIOError:
                    select.select([], [descriptor], [])
        finally:
            if len(left) < len(content):
                self._torn = bool(left)
        self._dropped = 0

    def _next_piece(self, descriptor: int, left: memoryview) -> memoryview:
        """What can be written without waiting for longer than is allowed."""
        if self.patience is None:
            return left
        # While nothing is read, it is waited for once.
        if not select.select([], [descriptor], [], 0 if self._dropped else self.patience)[1]:
            raise _NotReadError
        return left[:_PIPE_BUF]


class _NotReadError(Exception):
    """What was written before is not read."""


def _descriptor(stream: TextIO | None, platform: str) -> int | None:
    if stream is not None and platform != "win32":  # A console there takes text, not bytes.
        with suppress(OSError, ValueError, AttributeError):
            return stream.fileno()
    return None


class Console:
    """The two output streams of one command. Never raises, since an output error must not end a transfer.

    `clear` is called before each line on the error stream: it removes the progress display until the next tick.
    """

    def __init__(self, out: TextIO | None, err: TextIO | None, *, quiet: bool = False, as_json: bool = False) -> None:
        self._out = OutputStream(out)
        self.err = OutputStream(err)
        self.quiet = quiet
        self.as_json = as_json
        self.debug = False
        self.clear: Callable[[], None] = lambda: None
        self._known: set[str] = set()
        self._missed = False

    def hide(self, secret: str) -> None:
        """Hide this text in all messages from now on, unless it is short or has white space.

        An access token is long and random, so nothing else is hidden. A passphrase may be `true`, or a name: hiding
        that word in a message would disclose the passphrase, while showing it discloses nothing, since no message is
        built from a passphrase.
        """
        if len(secret) >= _SHORTEST_SECRET and secret.split() == [secret]:
            self._known.add(secret)

    def clean(self, text: str) -> str:
        """Return a message, which is one line, without secrets and without control characters."""
        return neutralised(self._hidden(text))

    def info(self, text: str, *, label: str = "") -> None:
        """Print a message unless `--quiet` is given; `label` names the file that it is about."""
        if not self.quiet:
            self.error(text, label=label)

    def error(self, text: str, *, label: str = "") -> None:
        """Print an error, also with `--quiet`."""
        self.clear()
        self.err.write((f"{neutralised(label)}: " if label else "") + self.clean(text) + "\n")

    def trace(self, error: BaseException) -> None:
        """Print the traceback of an error and its causes, with `--debug`."""
        if self.debug:
            # As one text, since a secret may have line breaks.
            text = self._hidden("".join(traceback.format_exception(error)).rstrip())
            for line in text.split("\n"):
                self.error(line)

    def result(self, text: str) -> None:
        """Print a line of the result to standard output."""
        self._out_line(neutralised(text))

    def record(self, fields: Mapping[str, Any]) -> None:
        """Print one JSON object as a line to standard output, with `--json`."""
        if self.as_json:
            # ASCII only: control characters are escaped, and the locale does not matter.
            self._out_line(json.dumps(self._hidden_within(fields), default=str, ensure_ascii=True))

    def exit_code(self, code: int) -> int:
        """Return the exit code of a command that ended with `code`: 0 only if its output was written, too."""
        if code or not self._missed:
            return code
        from connector.errors import LocalError  # with attrs, for which `connector --help` has no use

        return LocalError.exit_code

    def _hidden(self, text: str) -> str:
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return redacted(text)

    def _hidden_within(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: self._hidden_within(inner, name) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._hidden_within(inner, key) for inner in value]
        return self._hidden(value) if isinstance(value, str) and key in _FREE_TEXT else value

    def _out_line(self, text: str) -> None:
        self.clear()
        self._out.write(text + "\n")
        if self._out.failure and not self._missed:
            self._missed = True
            self.error(f"Error: standard output cannot be written: {self._out.failure}. Lines are missing there.")


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.error(f"{record.levelname.lower()} {record.name}: {record.getMessage()}")
            if record.exc_info and record.exc_info[1] is not None:
                self._console.trace(record.exc_info[1])
        except Exception:
            self.handleError(record)


def send_logs_to(console: Console) -> None:
    """Print the log lines of all libraries, warnings or with `--debug` nearly all, but none that hold secrets."""
    # crypt4gh logs session keys and private keys at DEBUG level, which must never be printed.
    silenced = logging.getLogger("crypt4gh")
    silenced.setLevel(logging.CRITICAL + 1)
    silenced.propagate = False
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("crypt4gh."):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ConsoleHandler)]:
        root.removeHandler(handler)
    root.addHandler(_ConsoleHandler(console))
    root.setLevel(logging.DEBUG if console.debug else logging.WARNING)
    # Their DEBUG lines are frames and header bytes: much, of no use, and with tokens in unknown shapes.
    # Those of botocore.auth are what a request is signed with, line by line: together they are its right.
    for name in ("httpcore", "h11", "hpack", "botocore.auth"):
        logging.getLogger(name).setLevel(logging.INFO)
    # Its INFO lines are whole URLs, and a presigned one grants access to a file.
    logging.getLogger("httpx").setLevel(logging.WARNING)
