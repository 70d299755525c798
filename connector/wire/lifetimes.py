"""How long a response may be used: RFC 9111 freshness, lifetimes of presigned URLs, and the clock of a server.

All results are durations in seconds that begin when the response was received. `received` is the time of receipt by
the server's own clock (see `ServerClocks`): times of a server are only compared with other times of that server, so a
wrong clock on this machine has no effect. `docs/lifetimes.md` lists the cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

import attrs

_RFC850 = re.compile(r"[A-Za-z]+, (\d\d)-([A-Za-z]{3})-(\d\d) (\d\d:\d\d:\d\d) GMT")
_LEAD_TIMEOUT = 600.0
"""Seconds after which the lead of a server's clock is measured again: that clock may have been set back."""
LONGEST_LIFETIME = 3600.0
"""Upper bound in seconds of any lifetime, whatever the server states."""
_DIRECTIVE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""One list element; a comma in a quoted string does not end it."""
_MAX_DELTA = 2**31
"""RFC 9111, section 1.2.2: larger delta-seconds count as this."""
_DATE_RESOLUTION = 1.0
"""Resolution of HTTP dates in seconds; a smaller difference between two of them is not counted as age."""


def parse_delta_seconds(text: str) -> int | None:
    """Parse RFC 9111 delta-seconds; `None` if `text` is not valid. Never raises."""
    text = text.strip().strip('"')
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text.lstrip("0")[:11] or "0"), _MAX_DELTA)


def parse_cache_control(text: str) -> dict[str, str | None]:
    """The directives of a Cache-Control field (RFC 9111, section 5.2), names in lower case. Never raises.

    The arguments of a repeated directive are joined by a comma, which is not valid for any of them: an invalid
    directive makes a response stale (section 4.2.1).
    """
    directives: dict[str, str | None] = {}
    for item in _DIRECTIVE.findall(text):
        name, equals, value = item.partition("=")
        name, argument = name.strip().lower(), value.strip().strip('"') if equals else None
        if name and directives.get(name, argument) != argument:
            argument = f"{directives[name] or ''},{argument or ''}"
        if name:
            directives[name] = argument
    return directives


def response_lifetime(headers: Mapping[str, str], received: datetime | None = None) -> float | None:
    """Seconds for which a private cache may use a response (RFC 9111, sections 4.2.1 and 4.2.3).

    `headers` have names in lower case. `0` if the server forbids reuse, `None` if it states no lifetime.
    """
    directives = parse_cache_control(headers.get("cache-control", ""))
    # Section 5.2.2.3: a cache that understands the status code ignores no-store beside must-understand.
    if "no-cache" in directives or ("no-store" in directives and "must-understand" not in directives):
        return 0.0
    date = parse_http_date(headers.get("date", ""), received)
    age = _age(headers, date, received)
    # The private cache of one user: s-maxage is for shared ones.
    if "max-age" in directives:
        max_age = parse_delta_seconds(directives["max-age"] or "")
        return max(max_age - age, 0.0) if max_age is not None else 0.0
    if "expires" in headers:
        expires, date = parse_http_date(headers["expires"], date or received), date or received
        if expires is None:
            return 0.0  # RFC 9111, section 5.3: an invalid date, above all "0", means already expired
        if date is not None:
            return max((expires - date).total_seconds() - age, 0.0)
    return None


def _age(headers: Mapping[str, str], date: datetime | None, received: datetime | None) -> float:
    """Seconds since the response was generated (RFC 9111, section 4.2.3), without the response delay.

    `CachedValue` adds the delay: its lifetimes begin when the request was sent.
    """
    # Section 5.1: the first of several values counts, and an invalid one is ignored.
    stated = parse_delta_seconds(headers.get("age", "").partition(",")[0]) or 0
    apparent = (received - date).total_seconds() - _DATE_RESOLUTION if received and date else 0.0
    return max(float(stated), apparent)


def presigned_lifetime(
    url: str, headers: Mapping[str, str] | None = None, received: datetime | None = None
) -> float | None:
    """Seconds for which a presigned URL is valid by its own signature, `None` if it states no expiry.

    `X-Amz-Date` and `X-Amz-Expires` (AWS Signature Version 4) are compared with the receipt of the response that
    contained the URL; if that has no `Date`, the URL counts as signed just now.
    """
    try:
        query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    except ValueError:  # not a valid URL
        return None
    seconds = parse_delta_seconds(query.get("x-amz-expires", ""))
    if seconds is None:
        return None
    signed = _parse_amz_date(query.get("x-amz-date", ""))
    date = parse_http_date((headers or {}).get("date", ""), received)
    if signed is None or date is None:
        return float(seconds)
    before = max((date - signed).total_seconds(), 0.0)
    return max(seconds - before - _age(headers or {}, date, received), 0.0)


def _parse_amz_date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str], received: datetime | None = None) -> float | None:
    """Seconds of `Retry-After` (RFC 9110, section 10.2.3), `None` without one.

    A date is compared with the response's own `Date`, or with the receipt if it has none. The largest of several
    numbers of seconds counts.
    """
    text = headers.get("retry-after", "")
    if not text:
        return None
    seconds = [parse_delta_seconds(member) for member in text.split(",")]
    numbers = [number for number in seconds if number is not None]
    if len(numbers) == len(seconds):
        return float(max(numbers))
    date = parse_http_date(headers.get("date", ""), received) or received
    until = parse_http_date(text, date)
    if until is None or date is None:
        return None
    return max((until - date).total_seconds(), 0.0)


def usable_seconds(lifetimes: list[float | None], *, otherwise: float) -> float:
    """The shortest of several stated lifetimes, less a margin for the transmission of the next request.

    `otherwise` is used when none is stated, and `LONGEST_LIFETIME` when all are longer. The margin is 15 % of the
    lifetime, at most 5 s, so that a value that is valid for a second or two can be used at all.
    """
    stated = [lifetime for lifetime in lifetimes if lifetime is not None]
    shortest = min(*stated, LONGEST_LIFETIME) if stated else otherwise
    return max(shortest - min(shortest * 0.15, 5.0), 0.0)


def parse_http_date(text: str, now: datetime | None = None) -> datetime | None:
    """Parse an HTTP date (RFC 9110, section 5.6.7) in UTC; `None` if `text` is not valid. Never raises.

    All three formats are accepted, and those of mail dates, as that section recommends. A two-digit year is the one
    with these digits that is at most 50 years after `now`. A leap second counts as the second before it.
    """
    text = text.strip()
    if text.count(":") > 2:
        return None  # several dates: a repeated field
    obsolete = _RFC850.fullmatch(text)
    if obsolete is not None and now is not None:
        day, month, digits, time = obsolete.groups()
        year = now.year - 49 + (int(digits) - now.year + 49) % 100
        text = f"{day} {month} {year} {time} GMT"
    try:
        moment = parsedate_to_datetime(re.sub(r":60\b", ":59", text))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@attrs.define
class ServerClocks:
    """Estimates when a response was received, by the clock of the server that sent it, for any number of servers.

    A response is sent after its `Date`, so a server's clock is ahead of this machine's monotonic clock by at least the
    difference of the `Date` and the time of receipt. The largest difference is the best estimate; responses from a
    cache have a smaller one. So an age (RFC 9111, section 4.2.3, `apparent_age`) does not depend on this machine's wall
    clock, which that section presumes to be synchronized.
    """

    _leads: dict[str, tuple[float, float]] = attrs.field(factory=dict)

    def received(self, server: str, date: str, monotonic: float, wall: float) -> datetime:
        """The time of receipt of a response with this `Date` field (may be empty), by the server's clock.

        `monotonic` and `wall` are this machine's clocks in seconds, the latter since the epoch. It is used only
        if the server has never sent a date.
        """
        ours = datetime.fromtimestamp(wall, UTC)
        stated = parse_http_date(date, ours)
        known = self._leads.get(server)
        if stated is not None:
            lead = stated.timestamp() - monotonic
            if known is None or lead > known[0] or monotonic - known[1] > _LEAD_TIMEOUT:
                known = self._leads[server] = (lead, monotonic)
        if known is None:
            return ours
        try:
            return datetime.fromtimestamp(known[0] + monotonic, UTC)
        except (ValueError, OverflowError):  # beyond the last date that Python supports
            return stated or ours
