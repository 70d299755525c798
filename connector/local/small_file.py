"""Reading small files: those that people write, as keys, settings and lists, and our own. Blocks.

The former are read once, from start to end, so that they may be pipes (`<(...)`), and not further than a limit, since a
huge file may be given by mistake. Editors and shells of Windows put a byte order mark before the text.
"""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from connector.errors import UsageError
from connector.local.failures import local_failures

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
KIB = 1024


def read_small_file(path: Path, what: str, *, limit: int = 64 * KIB) -> bytes:
    """The content of a file, as UTF-8 without a byte order mark if it has one; `what` names it in errors.

    Raises:
        LocalError: If it cannot be read.
        UsageError: If it has more than `limit` bytes.
    """
    with local_failures(f"read the {what}", path), path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(
            f"{path} has more than {limit // KIB:,} KiB, so it is not a {what}.", hint="Is it the data itself?"
        )
    return without_mark(content)


def read_own_file(path: Path, limit: int) -> bytes:
    """At most the first `limit` bytes of a file that this program writes; raises `OSError`.

    Another program may have put anything in its place: a pipe, which is not waited for and has no content, or a link to
    a device that never ends.
    """
    with open(path, "rb", opener=without_waiting) as file:
        return file.read(limit) or b""


def without_waiting(path: str, flags: int) -> int:
    """An `opener` for `open` that does not wait until a pipe has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def without_mark(content: bytes) -> bytes:
    """The text without its byte order mark, in UTF-8 if the mark is one of UTF-16; other content as it is."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode()
            except UnicodeError:
                return content
    return content
