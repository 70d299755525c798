"""``--until``: what is a time, and when a run stops for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.time_limit import MARGIN, TimeLimit
from connector.errors import UsageError

NOON = datetime.fromisoformat("2026-11-27T12:00:00+01:00").timestamp()

pytestmark = pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be chosen here")


@pytest.fixture(autouse=True, scope="module")
def berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("12:01", 1 / 60),
        ("15:30", 3.5),
        ("15:30:30", 3.5 + 30 / 3600),
        (" 15:30 ", 3.5),
        ("6:00", 18),
        ("12:00", 24),
        ("11:59", 24 - 1 / 60),
        ("2026-11-27T13:00", 1),
        ("2026-11-27 13:00:30", 1 + 30 / 3600),
        ("2026-11-27T13:00Z", 2),
        ("2026-12-27T12:00", 720),
        (f"@{NOON + 3600:.0f}", 1),
        ("+90m", 1.5),
        ("+3h30m", 3.5),
        ("+5400s", 1.5),
        ("+1:30:00", 1.5),
        ("+1-00:00:00", 24),
        ("+29:58", 1798 / 3600),
    ],
)
def test_times_people_and_batch_systems_write(text: str, hours: float) -> None:
    assert TimeLimit.read(text, NOON).end == pytest.approx(NOON + 3600 * hours, abs=0.01)


@pytest.mark.parametrize(
    ("now", "text", "hours"),
    [
        ("2026-03-28T12:00:00+01:00", "12:00", 23),
        ("2026-10-24T12:00:00+02:00", "12:00", 25),
        ("2026-10-24T12:00:00+02:00", "+24h", 24),
    ],
    ids=["spring", "autumn", "a span is a span"],
)
def test_days_have_not_always_24_hours(now: str, text: str, hours: float) -> None:
    moment = datetime.fromisoformat(now).timestamp()
    assert TimeLimit.read(text, moment).end == moment + 3600 * hours


@pytest.mark.parametrize(
    "text",
    ["", "noon", "25:00", "12:60", "12", "1:2", "2026-11-27", "2026-13-01T00:00", "9999-12-31T23:59Zx", "@", "@x",
     "@1e9x", "+", "+x", "+0", "-5m", "90m", "++5m", "+1:30:00:00", "N/A", "UNLIMITED", "+UNLIMITED", "@-5"],
)  # fmt: skip
def test_what_is_no_time_is_said_with_what_is_one(text: str) -> None:
    with pytest.raises(UsageError, match="not a time") as caught:
        TimeLimit.read(text, NOON)
    assert "+90m" in caught.value.hint


@pytest.mark.parametrize("text", ["2026-11-27T12:00", "2026-11-27T13:00:00+03:00", "@0", f"@{NOON:.0f}"])
def test_a_date_that_has_passed_is_not_stopped_for_again_and_again(text: str) -> None:
    """A job that is requeued with the same line would be so for ever."""
    with pytest.raises(UsageError, match="passed already"):
        TimeLimit.read(text, NOON)


@given(st.floats(min_value=0.001, max_value=1e7))
def test_it_stops_in_time_and_not_much_too_early(seconds: float) -> None:
    limit = TimeLimit.read(f"+{seconds:.3f}", NOON)
    assert NOON < limit.stop < limit.end
    assert limit.end - limit.stop <= min(MARGIN, seconds / 4) + 0.001
    assert limit.end - limit.stop >= min(MARGIN, seconds / 4) - 0.001


@given(st.integers(0, 23), st.integers(0, 59), st.floats(0, 2e9))
def test_a_time_of_day_is_the_next_one(hour: int, minute: int, now: float) -> None:
    end = TimeLimit.read(f"{hour:02}:{minute:02}", now).end
    assert now < end <= now + 25 * 3600 + 3600
    read = datetime.fromtimestamp(end)
    # In the night of spring some times are not there: the clock is put forward over them.
    assert (read.hour - hour) % 24 in (0, 1)
    assert read.minute == minute


@given(st.text(max_size=20) | st.from_regex(r"[+@]?[-0-9T:. Zdhms]{1,20}"))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert TimeLimit.read(text, NOON).stop > NOON
