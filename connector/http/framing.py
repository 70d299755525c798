"""Where a response's body ends (RFC 9112, section 6.3) and whether it is the one that was asked for."""

from __future__ import annotations

import re

import attrs
import httpx

SINKABLE = (200, 206)
"""Statuses whose body goes into a sink."""
WHOLE_AT_MOST = 256 * 1024**2
"""Bytes of an object whose parts are picked out of the whole, again and again, where a server ignores ranges."""


@attrs.frozen
class Length:
    """The body has this many bytes."""

    size: int


@attrs.frozen
class Chunked:
    """The body comes in chunks (RFC 9112, section 7.1)."""


@attrs.frozen
class UntilClose:
    """The body ends with the connection: a cut cannot be told from an end."""


Framing = Length | Chunked | UntilClose


class RangeIgnoredError(httpx.RemoteProtocolError):
    """The server answered with the whole of a large object where a part of it was asked for."""


@attrs.frozen
class Fit:
    """How a body fits a sink: bytes to pass over before it, bytes that go into it (``None``: the body's end will tell),
    and whether bytes follow that nobody wants."""

    size: int | None
    skip: int = 0
    more: bool = False


# RFC 9110, sections 14.1.2 and 14.4.
_RANGE = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})?")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


def framing_of(method: str, status: int, headers: httpx.Headers) -> Framing:
    """Tell how the body of a response to ``method`` is delimited.

    Raises :class:`httpx.RemoteProtocolError` for a transfer coding other than chunked or a length that is no number.
    """
    if method == "HEAD" or status in (204, 304):
        return Length(0)
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.strip().lower() != "chunked":
            raise httpx.RemoteProtocolError(f"The server uses the transfer coding {coding!r}, which nobody asked for.")
        return Chunked()
    length = headers.get("content-length")
    if length is None:
        return UntilClose()
    # The head parser has already joined equal repetitions and refused differing ones.
    if not re.fullmatch(r"[0-9]{1,19}", length):
        raise httpx.RemoteProtocolError(f"The server's Content-Length is no number: {length[:40]!r}.")
    return Length(int(length))


def check_sinkable(
    *,
    requested: str | None,
    status: int,
    headers: httpx.Headers,
    framing: Framing,
    room: int,
    whole: int | None = None,
) -> Fit:
    """Check that a 200 or 206 fits the request's Range header (``requested``) and a sink of ``room`` bytes.

    A server may ignore the header and send all of the object (RFC 9110, section 14.2): that is taken if it has
    ``whole`` bytes, or refused with a :class:`RangeIgnoredError` if these are more than 256 MiB. Raises
    :class:`httpx.RemoteProtocolError`: other bytes than asked for, a content coding, no length, too many bytes.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    # Some stores hand out the "aws-chunked" of the upload as if it were a property of the object.
    if coding not in ("identity", "aws-chunked", ""):
        raise httpx.RemoteProtocolError(f"The server sent the bytes encoded as {coding!r}, which nobody asked for.")
    if isinstance(framing, UntilClose):
        raise httpx.RemoteProtocolError("The server sent a body without saying how long it is.")
    size = framing.size if isinstance(framing, Length) else None
    picked = _within_whole(requested, status, size) if size is not None and size == whole else None
    if picked is not None and picked.size == room:
        return picked
    stretch = _check_range(requested, status, headers.get("content-range"))
    if stretch is not None and size is not None and size != stretch:
        raise httpx.RemoteProtocolError(
            f"The server contradicts itself: a body of {size} bytes for {headers.get('content-range')!r}."
        )
    size = stretch if size is None else size
    if size is not None and size > room:
        raise httpx.RemoteProtocolError(
            f"The server sent a body that is too long: {size} bytes where at most {room} were expected."
        )
    return Fit(size)


def _within_whole(requested: str | None, status: int, whole: int) -> Fit | None:
    """Where the bytes that were asked for lie in a whole object of ``whole`` bytes, if that is what was sent."""
    asked = _asked_for(requested)
    if status != 200 or asked is None or asked[1] is None or asked[1] >= whole:
        return None
    start, stop = asked[0], asked[1] + 1
    if stop - start < whole and whole > WHOLE_AT_MOST:
        raise RangeIgnoredError(f"The server answered with all {whole} bytes of the object, not with {requested!r}.")
    return Fit(stop - start, skip=start, more=stop < whole)


def _check_range(requested: str | None, status: int, content_range: str | None) -> int | None:
    """Check that an answer is about the bytes that were asked for; returns how many it says these are, if it does."""
    asked = _asked_for(requested)
    if status == 200:
        if asked is not None and asked[0] != 0:
            raise httpx.RemoteProtocolError(f"The server answered with the whole object, not with {requested!r}.")
        return None
    if asked is None:
        raise httpx.RemoteProtocolError("The server answered with a part of the object, which nobody asked for.")
    got = _CONTENT_RANGE.fullmatch((content_range or "").strip())
    if got is None:
        raise httpx.RemoteProtocolError(f"The server did not say which bytes it sent: {(content_range or '')[:60]!r}.")
    start, last = int(got[1]), int(got[2])
    if start != asked[0] or last < start or (asked[1] is not None and last > asked[1]):
        raise httpx.RemoteProtocolError(f"The server sent {content_range!r} in answer to {requested!r}.")
    if got[3] != "*" and last >= int(got[3]):
        raise httpx.RemoteProtocolError(f"The server contradicts itself: {content_range!r}.")
    return last - start + 1


def _asked_for(requested: str | None) -> tuple[int, int | None] | None:
    """First and last byte of a request for one range; ``None`` if it was for anything else."""
    found = _RANGE.fullmatch((requested or "").strip())
    if found is None:
        return None
    return int(found[1]), int(found[2]) if found[2] is not None else None
