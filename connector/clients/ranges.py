"""Byte ranges of objects: which of them a response holds (RFC 9110, sections 14 and 15.3.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from connector.errors import RETRY, BrokenError

MAX_WHOLE_OBJECT = 256 * 1024**2
"""Largest object (bytes) whose parts are picked out of the whole where a server ignores the `Range` header."""

_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)", re.IGNORECASE)
_NO_CODINGS = frozenset({"", "identity", "aws-chunked"})
"""Some stores return the "aws-chunked" of the upload as if it were a property of the object."""


@attrs.frozen
class BodyWindow:
    """Where the bytes that were asked for are in the body of a response.

    Attributes:
        offset: Bytes of the body before them.
        size: Their count: fewer than were asked for if the server sends only the first of them.
        ends_body: Whether the body must not go on behind them, as far as its framing can tell.
    """

    offset: int
    size: int
    ends_body: bool


def find_range(
    server: str, status: int, headers: Mapping[str, str], start: int, stop: int, size: int | None
) -> BodyWindow:
    """Find the bytes `start` to `stop` in a 200 or 206 of an object of `size` bytes.

    Raises:
        BrokenError: It holds other bytes, or they are encoded.
    """
    codings = [coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")]
    applied = [coding for coding in codings if coding not in _NO_CODINGS]
    if applied:
        what = f"sent the bytes encoded ({', '.join(applied)[:40]}), which was not asked for"
        raise misbehaves(server, what)
    text = None if "transfer-encoding" in headers else headers.get("content-length")  # RFC 9112, section 6.3
    length = None if text is None else int(text)
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if match is None or int(match[1]) != start or not start < int(match[2]) + 1 <= stop:
            raise misbehaves(server, "answered with another range than was asked for")
        sent = int(match[2]) + 1 - start
        if length not in (None, sent):
            raise misbehaves(server, "sent a body that is not as long as its range")
        # A body that ends with the connection is complete by its range: it is no use to wait for that end.
        return BodyWindow(0, sent, length is not None or "transfer-encoding" in headers)
    if size is not None and length == size and stop <= size:
        if stop - start < size and size > MAX_WHOLE_OBJECT:
            raise BrokenError(
                f"{server} sends whole objects where parts of them are asked for, and this one is large.",
                hint="Choose a --part-size of at least the file's size (memory grows to it), or tell the archive's"
                " operators.",
            )
        return BodyWindow(start, stop - start, False)
    if status != 200 or start != 0 or length not in (None, stop):
        raise misbehaves(server, "does not serve ranges")
    return BodyWindow(0, stop, True)


def misbehaves(server: str, what: str) -> BrokenError:
    """The error for a storage that does what no client can use."""
    return BrokenError(f"{server} {what}.", hint="Tell the archive's operators.", advice=RETRY)
