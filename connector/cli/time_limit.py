"""`--until`: the time by which a run has to end, in several notations. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import attrs

from connector.config import parse_duration
from connector.errors import UsageError

MARGIN = 30.0
"""Seconds before the limit at which a run begins to stop."""

_SINCE_1970 = re.compile(r"@[0-9]{1,11}")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}\S*")
_HINT = "Write it as 06:30, 2026-11-27T06:30, @ and seconds since 1970, or + and a time span: +90m, +3h30m, +1:30:00."


@attrs.frozen
class TimeLimit:
    """The time at which a run has to end, and at which it begins to `stop`: seconds since 1970. `text`: as given."""

    text: str
    end: float
    stop: float

    @classmethod
    def read(cls, text: str, now: float) -> TimeLimit:
        """Read what was given with `--until` at the moment `now`.

        A run stops `MARGIN` before the limit, or a quarter of its time before it, if that is less: however
        short its time is, it does something.

        Raises:
            UsageError: For what is no time, or has passed.
        """
        try:
            end = _moment(text.strip(), now)
        except (ValueError, OverflowError, OSError):
            raise UsageError(f"--until: {text!r} is not a time.", hint=_HINT) from None
        if end <= now:
            raise UsageError(
                f"--until: {text} has passed already.", hint="Give a time to come, or leave it out for no limit."
            )
        return cls(text, end, end - min(MARGIN, (end - now) / 4))


def _moment(text: str, now: float) -> float:
    if text.startswith("+"):
        return now + parse_duration(text[1:])
    if _SINCE_1970.fullmatch(text):
        return float(text[1:])
    if _DATE_AND_TIME.fullmatch(text):
        return datetime.fromisoformat(text).timestamp()
    if not _CLOCK.fullmatch(text):
        raise ValueError
    hour, minute, second = (int(number) for number in f"{text}:00".split(":")[:3])
    today = datetime.fromtimestamp(now).replace(hour=hour, minute=minute, second=second, microsecond=0)
    # The next one: tomorrow's day is added to the date, since it may have 23 or 25 hours.
    return next(moment for moment in ((today + timedelta(days=days)).timestamp() for days in range(3)) if moment > now)
