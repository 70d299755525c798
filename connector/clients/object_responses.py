"""What a storage's responses say about an object: its range, its ETag, its redirect. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import httpx

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


_MD5 = re.compile(r"[0-9a-f]{32}")
_ENCRYPTION = re.compile(r"x-amz-server-side-encryption|x-goog-encryption-kms", re.IGNORECASE)


def stored_md5(headers: Mapping[str, str]) -> str | None:
    """Return the md5 (lower case hex) of the stored bytes, `None` if the response's ETag cannot be one."""
    etag = ""
    for name, value in headers.items():
        # SSE-C has the same value, AES256, under a longer name.
        plain_name = name.lower() == "x-amz-server-side-encryption"
        if _ENCRYPTION.match(name) and not (plain_name and value.strip().upper() == "AES256"):
            return None
        if name.lower() == "etag":
            etag = value.strip().strip('"').lower()
    return etag if _MD5.fullmatch(etag) else None


class EtagRecord:
    """Whether the ETags of one storage are md5s of what is stored, as far as its responses have shown.

    No specification guarantees that. S3 documents it for objects that are stored unencrypted or under SSE-S3, and
    another value under SSE-KMS and SSE-C, which header fields of the response tell. Gateways have ETags of their own
    without saying so. Therefore a part counts as damaged only where ETags have proved to be md5s; other damage is found
    when the archive checks the sha256 at the end.
    """

    def __init__(self) -> None:
        self._proved = False
        self._differed = 0

    def is_damaged(self, md5: str, stored: str | None) -> bool:
        """Whether a part with this `md5` has to be sent again, given the md5 that its ETag states.

        Before any ETag was equal to the md5 of its part, one part is sent again to find out; ETags that still differ
        are no md5s.
        """
        if stored is None:
            return False
        if stored == md5:
            self._proved = True
            return False
        self._differed += 1
        return self._proved or self._differed == 1


_KEEPING_METHOD = (307, 308)
"""RFC 9110, sections 15.4.8 and 15.4.9: the others allow a PUT to become a GET."""


def redirect_target(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """The URL to which a response redirects the same request for the same object.

    S3 answers 307 while the name of a new bucket is spread, with another endpoint of it.
    Another object is none of it, nor is a way without TLS where there was one. Whether the server's address is allowed
    is for the connection to decide.

    Args:
        url: What was requested.
        status: Of the response.
        headers: Of the response.
    """
    location = headers.get("location", "").strip()
    if status not in _KEEPING_METHOD or not location:
        return None
    try:
        source = httpx.URL(url)
        target = source.join(location)
    except (httpx.InvalidURL, ValueError):
        return None
    if target.scheme not in ("https", source.scheme) or not target.host or target.userinfo or target == source:
        return None
    return str(target) if _is_same_object(source, target) or _is_same_object(target, source) else None


def _is_same_object(first: httpx.URL, second: httpx.URL) -> bool:
    """Whether the paths are the same, or the bucket in the path of `first` is the first label of `second`'s host."""
    if first.path == second.path:
        return True
    bucket, _, key = first.path.removeprefix("/").partition("/")
    return bool(bucket and key) and second.path == f"/{key}" and second.host.startswith(f"{bucket}.")
