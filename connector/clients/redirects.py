"""Redirects of the storage: S3 answers 307 while the name of a new bucket is spread, with another endpoint of it."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

_KEEPING_METHOD = (307, 308)
"""RFC 9110, sections 15.4.8 and 15.4.9: the others allow a PUT to become a GET."""


def redirect_target(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """The URL to which a response redirects the same request for the same object.

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
