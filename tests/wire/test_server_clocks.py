"""What time it is on a server, without a clock of our own that could be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.wire.lifetimes import ServerClocks, parse_http_date

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
NOON = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


def date(seconds: float) -> str:
    """The date field of a server whose clock showed noon when ours began to run."""
    return format_datetime((NOON + timedelta(seconds=int(seconds))), usegmt=True)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",  # RFC 9110, section 5.6.7: the obsolete forms must be accepted
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 09:49:37 +0100",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
@pytest.mark.parametrize("now", [None, NOON])
def test_http_dates(text: str, now: datetime | None) -> None:
    assert parse_http_date(text, now) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "now",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 31-Feb-94 08:49:37 GMT",
    ],
)
def test_what_is_no_http_date(text: str) -> None:
    assert parse_http_date(text, NOON) is None


@pytest.mark.parametrize(("digits", "year"), [("26", 2026), ("27", 2027), ("76", 2076), ("77", 1977), ("25", 2025)])
def test_a_two_digit_year_lies_at_most_fifty_years_ahead(digits: str, year: int) -> None:
    read = parse_http_date(f"Friday, 27-Nov-{digits} 12:00:00 GMT", NOON)
    assert read is not None
    assert read.year == year


def test_a_leap_second_is_a_time() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("off", [0.0, 5 * 3600.0, -5 * 3600.0])
def test_our_own_clock_counts_only_until_the_server_has_sent_a_date(off: float) -> None:
    clocks, wall = ServerClocks(), NOON.timestamp() + off
    assert clocks.received("a", "", 0.0, wall) == NOON + timedelta(seconds=off)
    assert clocks.received("a", date(5), 5.0, wall + 5) == NOON + timedelta(seconds=5)
    assert clocks.received("a", "", 9.0, wall + 9) == NOON + timedelta(seconds=9)
    assert clocks.received("b", "", 9.0, wall + 9) == NOON + timedelta(seconds=off + 9), "another server"


@pytest.mark.parametrize("nonsense", ["", "now", "0", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_dates_that_are_none_do_no_harm(nonsense: str) -> None:
    clocks = ServerClocks()
    assert clocks.received("a", nonsense, 100.0, NOON.timestamp()) in (
        NOON,
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    )


def test_an_answer_that_a_cache_had_kept_is_recognised_by_its_date() -> None:
    clocks = ServerClocks()
    clocks.received("a", date(1), 1.0, 0.0)
    assert clocks.received("a", date(2), 100.0, 0.0) == NOON + timedelta(seconds=100)


def test_an_answer_that_a_cache_had_kept_may_come_first() -> None:
    clocks = ServerClocks()
    assert clocks.received("a", date(-600), 1.0, 0.0) == NOON - timedelta(seconds=600), "taken for new"
    assert clocks.received("a", date(2), 2.0, 0.0) == NOON + timedelta(seconds=2)
    assert clocks.received("a", date(-600), 3.0, 0.0) == NOON + timedelta(seconds=3)


def test_a_server_that_puts_its_clock_back_is_believed_after_a_while() -> None:
    clocks = ServerClocks()
    clocks.received("a", date(3600), 0.0, 0.0)
    assert clocks.received("a", date(300), 300.0, 0.0) == NOON + timedelta(seconds=3900)
    assert clocks.received("a", date(601), 601.0, 0.0) == NOON + timedelta(seconds=601)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 3)), min_size=1, max_size=30))
def test_of_fresh_answers_none_seems_older_than_its_way_took(answers: list[tuple[float, float]]) -> None:
    """Sent at ``sent`` and received after ``way`` seconds: what seems to be its age is that and a second at most."""
    clocks = ServerClocks()
    for sent, way in sorted(answers, key=lambda answer: sum(answer)):
        received = clocks.received("a", date(sent), sent + way, 0.0)
        apparent = received - (NOON + timedelta(seconds=int(sent)))
        assert timedelta(0) <= apparent <= timedelta(seconds=way + 1.001)
