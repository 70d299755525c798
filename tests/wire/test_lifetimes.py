from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.wire.lifetimes import (
    parse_cache_control,
    parse_delta_seconds,
    parse_http_date,
    presigned_lifetime,
    response_lifetime,
    retry_after,
    usable_seconds,
)

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
A_MINUTE_LATER = "Sun, 06 Nov 1994 08:50:37 GMT"
MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        (" 30 ", 30),
        ('"30"', 30),  # RFC 9111, section 5.2: recipients ought to accept the quoted form too
        ("0000000000000030", 30),
        ("2147483648", 2**31),
        ("2147483649", 2**31),  # section 1.2.2
        ("9" * 10_000, 2**31),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("0x1f", None),
        ("1_000", None),
        ("3 0", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_delta_seconds(text: str, seconds: int | None) -> None:
    assert parse_delta_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        ("", {}),
        ("no-store", {"no-store": None}),
        ("max-age=30, private", {"max-age": "30", "private": None}),
        ("Max-Age=30,PRIVATE", {"max-age": "30", "private": None}),
        ("max-age = 30", {"max-age": "30"}),
        ('max-age="30"', {"max-age": "30"}),
        (", ,max-age=5,,", {"max-age": "5"}),
        ("max-age=1, max-age=1", {"max-age": "1"}),
        ("max-age=1, max-age=2", {"max-age": "1,2"}),
        ("max-age, max-age=2", {"max-age": ",2"}),
        (r'ext="a\", max-age=9", max-age=5', {"ext": r"a\", max-age=9", "max-age": "5"}),
        ('ext="a, max-age=9, b", max-age=5', {"ext": "a, max-age=9, b", "max-age": "5"}),
        ('no-cache="set-cookie, x"', {"no-cache": "set-cookie, x"}),
        ('ext="never closed, max-age=5', {"ext": "never closed, max-age=5"}),
        ("=5", {}),
    ],
)
def test_cache_control_directives(text: str, directives: dict[str, str | None]) -> None:
    assert parse_cache_control(text) == directives


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({}, None),
        ({"cache-control": "private"}, None),
        ({"cache-control": "max-age=30, private"}, 30.0),
        ({"cache-control": "max-age=30", "age": "10"}, 20.0),
        ({"cache-control": "max-age=30", "age": "31"}, 0.0),
        ({"cache-control": "max-age=30", "age": "soon"}, 30.0),
        ({"cache-control": "max-age=0"}, 0.0),
        ({"cache-control": "no-store"}, 0.0),
        ({"cache-control": "no-store, max-age=30"}, 0.0),
        ({"cache-control": "max-age=30, no-cache"}, 0.0),
        ({"cache-control": "NO-STORE"}, 0.0),
        # section 4.2.1: a private cache goes by max-age, s-maxage is for shared ones
        ({"cache-control": "s-maxage=99, max-age=30"}, 30.0),
        ({"cache-control": "s-maxage=99"}, None),
        # section 5.1: a list counts as its first member, and what is no number is passed over
        ({"cache-control": "max-age=30", "age": "10, 25"}, 20.0),
        ({"cache-control": "max-age=30", "age": "soon, 25"}, 30.0),
        ({"cache-control": "max-age=30", "age": "-5"}, 30.0),
        # section 5.2.2.3: the statuses that are read are understood
        ({"cache-control": "must-understand, no-store, max-age=30"}, 30.0),
        ({"cache-control": "must-understand, no-store, no-cache, max-age=30"}, 0.0),
        # section 5.2.2.4: also with fields
        ({"cache-control": 'no-cache="set-cookie", max-age=30'}, 0.0),
        # section 4.2.1: what conflicts or is invalid counts as stale
        ({"cache-control": "max-age=30, max-age=60"}, 0.0),
        ({"cache-control": "max-age=30, max-age=30"}, 30.0),
        ({"expires": f"{A_MINUTE_LATER}, {DATE}", "date": DATE}, 0.0),
        ({"cache-control": "max-age=soon"}, 0.0),
        ({"cache-control": "max-age=-5"}, 0.0),
        ({"cache-control": "max-age"}, 0.0),
        ({"cache-control": "max-age", "expires": A_MINUTE_LATER, "date": DATE}, 0.0),
        # section 5.3: max-age wins over Expires, whatever Expires says
        ({"cache-control": "max-age=30", "expires": DATE, "date": DATE}, 30.0),
        ({"expires": A_MINUTE_LATER, "date": DATE}, 60.0),
        ({"expires": A_MINUTE_LATER, "date": DATE, "age": "15"}, 45.0),
        ({"expires": DATE, "date": A_MINUTE_LATER}, 0.0),
        ({"expires": "0", "date": DATE}, 0.0),
        ({"expires": "0"}, 0.0),
        # where the time of receipt is not known either
        ({"expires": A_MINUTE_LATER}, None),
        ({"expires": A_MINUTE_LATER, "date": "nonsense"}, None),
    ],
)
def test_for_how_long_a_private_cache_may_use_a_response(headers: dict[str, str], lifetime: float | None) -> None:
    assert response_lifetime(headers) == lifetime


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({"cache-control": "max-age=30"}, 30.0),
        # RFC 9110, section 6.6.1: a missing date is the time of receipt
        ({"expires": A_MINUTE_LATER}, 50.0),
        ({"expires": A_MINUTE_LATER, "date": "nonsense"}, 50.0),
        ({"expires": A_MINUTE_LATER, "date": f"{DATE}, {DATE}"}, 50.0),
        ({"expires": DATE}, 0.0),
        # section 4.2.3: the larger of what Age says and what Date shows, less a second since dates are whole ones
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 08:49:46 GMT"}, 30.0),
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 21.0),
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 08:49:37 GMT", "age": "5"}, 21.0),
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 08:49:37 GMT", "age": "25"}, 5.0),
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 08:39:47 GMT"}, 0.0),
        ({"cache-control": "max-age=30", "date": "Sun, 06 Nov 1994 09:49:47 GMT"}, 30.0),
        ({"expires": A_MINUTE_LATER, "date": DATE}, 51.0),
    ],
)
def test_received_ten_seconds_later_by_the_servers_own_clock(headers: dict[str, str], lifetime: float) -> None:
    received = MOMENT + timedelta(seconds=10)
    assert response_lifetime(headers, received) == lifetime


SIGNED = "https://s3/b/o?X-Amz-Date=19941106T084937Z&X-Amz-Expires=60&X-Amz-Signature=00"


@pytest.mark.parametrize(
    ("url", "headers", "lifetime"),
    [
        (SIGNED, None, 60.0),
        (SIGNED, {}, 60.0),
        (SIGNED, {"date": DATE}, 60.0),
        (SIGNED, {"date": "Sun, 06 Nov 1994 08:49:47 GMT"}, 50.0),
        (SIGNED, {"date": "Sun, 06 Nov 1994 08:59:37 GMT"}, 0.0),
        # signed in what the API server thinks is the future: no more than it was made for
        (SIGNED, {"date": "Sun, 06 Nov 1994 07:49:37 GMT"}, 60.0),
        (SIGNED, {"date": "nonsense"}, 60.0),
        (SIGNED.lower().replace("t084937z", "T084937Z"), {"date": A_MINUTE_LATER}, 0.0),
        ("https://s3/b/o?X-Amz-Expires=60", {"date": DATE}, 60.0),
        ("https://s3/b/o?X-Amz-Date=yesterday&X-Amz-Expires=60", {"date": DATE}, 60.0),
        ("https://s3/b/o?X-Amz-Expires=soon", None, None),
        ("https://s3/b/o", None, None),
        ("", None, None),
        ("http://[", None, None),
        ("http://[::1/o?X-Amz-Expires=60", None, None),
    ],
)
def test_for_how_long_a_presigned_url_is_good(url: str, headers: dict[str, str] | None, lifetime: float | None) -> None:
    assert presigned_lifetime(url, headers) == lifetime


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [({"date": DATE}, 51.0), ({"date": DATE, "age": "20"}, 40.0), ({"age": "20"}, 60.0), ({}, 60.0)],
)
def test_an_url_that_some_cache_had_kept_is_good_for_less(headers: dict[str, str], lifetime: float) -> None:
    assert presigned_lifetime(SIGNED, headers, MOMENT + timedelta(seconds=10)) == lifetime


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": A_MINUTE_LATER}, 50.0),
        ({"retry-after": A_MINUTE_LATER, "date": "nonsense"}, 50.0),
        ({"retry-after": A_MINUTE_LATER, "date": DATE}, 60.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT", "date": DATE}, 60.0),
        ({"retry-after": DATE}, 0.0),
    ],
)
def test_without_a_date_a_wait_counts_from_the_receipt(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, MOMENT + timedelta(seconds=10)) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "5, 120, 60"}, 120.0),
        ({"retry-after": "5, soon"}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": A_MINUTE_LATER, "date": DATE}, 60.0),
        ({"retry-after": DATE, "date": A_MINUTE_LATER}, 0.0),
        ({"retry-after": A_MINUTE_LATER}, None),
        ({"retry-after": A_MINUTE_LATER, "date": "nonsense"}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("lifetimes", "usable"),
    [
        ([], 20.0 * 0.85),
        ([None, None], 20.0 * 0.85),
        ([10.0, None], 8.5),
        ([30.0, 60.0], 25.5),
        ([3600.0], 3595.0),
        ([86_400.0], 3595.0),
        ([float(2**31), None], 3595.0),
        ([2.0], 1.7),
        ([0.0, 60.0], 0.0),
    ],
)
def test_the_shortest_of_several_lifetimes_less_a_margin(lifetimes: list[float | None], usable: float) -> None:
    assert usable_seconds(lifetimes, otherwise=20.0) == pytest.approx(usable)


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=4), st.floats(0, 1e9))
def test_nothing_is_used_longer_than_it_lives(lifetimes: list[float | None], otherwise: float) -> None:
    usable = usable_seconds(lifetimes, otherwise=otherwise)
    assert 0 <= usable <= min((one for one in lifetimes if one is not None), default=otherwise)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1)), st.integers(0, 10**6))
def test_a_date_and_seconds_say_the_same(moment: datetime, seconds: int) -> None:
    date = moment.replace(microsecond=0, tzinfo=UTC)
    later = datetime.fromtimestamp(date.timestamp() + seconds, UTC)
    headers = {"date": format_datetime(date, usegmt=True), "retry-after": format_datetime(later, usegmt=True)}
    assert retry_after(headers) == seconds
    assert response_lifetime({**headers, "expires": headers["retry-after"]}) == seconds


FRAGMENTS = """
max-age = , " 30 no-store +9999 -2359 0001 99999 Sun, 06 Nov 1994 08:49:37 GMT Mon Jan : ;
X-Amz-Expires X-Amz-Date 19941106T084937Z ? & http:// [ ] %ff
"""
fragments = st.sampled_from([" ", "Sun, 06 Nov 1994 08:49:37 GMT", *FRAGMENTS.split()])
nonsense = st.text(max_size=60) | st.lists(fragments, max_size=10).map("".join)


@given(nonsense, nonsense, nonsense, nonsense, st.none() | st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=200)
def test_nothing_that_a_server_says_raises(
    first: str, second: str, third: str, fourth: str, received: datetime | None
) -> None:
    headers = {"cache-control": first, "age": second, "date": third, "expires": fourth, "retry-after": first}
    for lifetime in (
        response_lifetime(headers, received),
        retry_after(headers, received),
        presigned_lifetime(first, headers, received),
        presigned_lifetime("https://s3/o?X-Amz-Date=" + second + "&X-Amz-Expires=" + fourth, headers, received),
    ):
        assert lifetime is None or 0 <= lifetime < float("inf")


@given(nonsense)
@settings(max_examples=200)
def test_no_text_makes_a_parser_raise(text: str) -> None:
    parse_cache_control(text)
    seconds = parse_delta_seconds(text)
    assert seconds is None or 0 <= seconds <= 2**31
    moment = parse_http_date(text)
    assert moment is None or moment.tzinfo is UTC
