"""How long something that the archive said may be used: RFC 9111 freshness and lifetimes of presigned URLs.

All results are durations in seconds that begin when the response was received. Absolute times of the server are only
ever compared with other times of the server, so a wrong clock on this machine changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

_DIRECTIVE = re.compile(r'(?:[^,"]|"[^"]*"?)+')
"""One list element; a comma in a quoted string ends none."""
_MAX_DELTA = 2**31
"""RFC 9111, section 1.2.2: larger delta-seconds count as this."""


def parse_delta_seconds(text: str) -> int | None:
    """RFC 9111 delta-seconds, ``None`` if ``text`` is none. Never raises."""
    text = text.strip().strip('"')
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text.lstrip("0")[:11] or "0"), _MAX_DELTA)


def parse_http_date(text: str) -> datetime | None:
    """An HTTP date (RFC 9110, section 5.6.7) in UTC, ``None`` if ``text`` is none. Never raises."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_cache_control(text: str) -> dict[str, str | None]:
    """The directives of a Cache-Control field (RFC 9111, section 5.2), names in lower case. Never raises."""
    directives: dict[str, str | None] = {}
    for item in _DIRECTIVE.findall(text):
        name, equals, value = item.partition("=")
        if name.strip():
            directives.setdefault(name.strip().lower(), value.strip().strip('"') if equals else None)
    return directives


def response_lifetime(headers: Mapping[str, str]) -> float | None:
    """Seconds for which a private cache may use a response (RFC 9111, sections 4.2.1 and 4.2.3).

    ``headers`` are looked up in lower case. ``0`` if the server forbids reuse, ``None`` if it says nothing.
    """
    directives = parse_cache_control(headers.get("cache-control", ""))
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    age = parse_delta_seconds(headers.get("age", "")) or 0
    # The private cache of one user: s-maxage is for shared ones.
    if "max-age" in directives:
        max_age = parse_delta_seconds(directives["max-age"] or "")
        return float(max(max_age - age, 0)) if max_age is not None else 0.0
    if "expires" in headers:
        expires, date = parse_http_date(headers["expires"]), parse_http_date(headers.get("date", ""))
        if expires is None:
            return 0.0  # RFC 9111, section 5.3: an invalid date, above all "0", means already expired
        if date is not None:
            return max((expires - date).total_seconds() - age, 0.0)
    return None


def presigned_lifetime(url: str, headers: Mapping[str, str] | None = None) -> float | None:
    """Seconds for which a presigned URL is good, from its own signature, ``None`` if it does not tell.

    ``X-Amz-Date`` and ``X-Amz-Expires`` (AWS Signature Version 4) are set against the ``Date`` of the response that
    brought the URL; without one it counts as fresh from the signer.
    """
    try:
        query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    except ValueError:  # no URL at all
        return None
    seconds = parse_delta_seconds(query.get("x-amz-expires", ""))
    if seconds is None:
        return None
    signed = _parse_amz_date(query.get("x-amz-date", ""))
    received = parse_http_date((headers or {}).get("date", ""))
    age = (received - signed).total_seconds() if signed and received else 0.0
    return max(seconds - max(age, 0.0), 0.0)


def _parse_amz_date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (``Retry-After``, RFC 9110, section 10.2.3), ``None`` if it does not.

    A date is set against the response's own ``Date``; without one it is passed over.
    """
    text = headers.get("retry-after", "")
    if not text:
        return None
    seconds = parse_delta_seconds(text)
    if seconds is not None:
        return float(seconds)
    until, date = parse_http_date(text), parse_http_date(headers.get("date", ""))
    if until is None or date is None:
        return None
    return max((until - date).total_seconds(), 0.0)


def usable_seconds(lifetimes: list[float | None], *, otherwise: float, margin: float = 0.15) -> float:
    """For how long to use something with several stated lifetimes: the shortest, less a margin for the way there.

    ``otherwise`` counts when none is stated. The margin is a share of the lifetime, at most 5 s, so that even
    leases of a second or two are of use.
    """
    stated = [lifetime for lifetime in lifetimes if lifetime is not None]
    shortest = min(stated) if stated else otherwise
    return max(shortest - min(shortest * margin, 5.0), 0.0)
