"""HTTP dates, and what time it is on a server, as its own answers tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

_RFC850 = re.compile(r"[A-Za-z]+, (\d\d)-([A-Za-z]{3})-(\d\d) (\d\d:\d\d:\d\d) GMT")
_REMEMBERED = 600.0
"""Seconds after which a clock that was never found to be ahead of its server's answers is read afresh: the server's
own clock may have been put back."""


def parse_http_date(text: str, now: datetime | None = None) -> datetime | None:
    """An HTTP date (RFC 9110, section 5.6.7) in UTC, ``None`` if ``text`` is none. Never raises.

    All three forms are read, and the dates of mails, as that section recommends. A two-digit year is the one with
    these digits that lies at most 50 years after ``now``. A leap second counts as the second before it.
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
    """Tells when an answer was received by the clock of the server that sent it, for any number of servers.

    An answer is sent after its ``Date``, so a server's clock is ahead of this machine's monotonic clock at least by
    what the ``Date`` was ahead at the receipt; the largest lead seen is the truest, and an answer that some cache had
    kept has a smaller one. So ages can be told (RFC 9111, section 4.2.3, ``apparent_age``) without trusting this
    machine's idea of the time, which that section asks for only where clocks are known to agree.
    """

    _leads: dict[str, tuple[float, float]] = attrs.field(factory=dict)

    def received(self, server: str, date: str, monotonic: float, wall: float) -> datetime:
        """The time of receipt of an answer with this ``Date`` field (may be empty), by the server's clock.

        ``monotonic`` and ``wall`` are this machine's clocks in seconds, the latter since the epoch. It counts only
        if the server has never sent a date.
        """
        ours = datetime.fromtimestamp(wall, UTC)
        said = parse_http_date(date, ours)
        known = self._leads.get(server)
        if said is not None:
            lead = said.timestamp() - monotonic
            if known is None or lead > known[0] or monotonic - known[1] > _REMEMBERED:
                known = self._leads[server] = (lead, monotonic)
        if known is None:
            return ours
        try:
            return datetime.fromtimestamp(known[0] + monotonic, UTC)
        except (ValueError, OverflowError):  # a date at the end of the calendar
            return said or ours
