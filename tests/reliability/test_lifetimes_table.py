"""The table of lifetimes: header fields, clocks and refusals, with the requests that they lead to and the rule for it.

Each row is a download through the command line of a file of three parts, one part at a time. The archive's answers
that name the file's address (or give the token for it) have the fields of the row. An address that may be used again is
asked for once, when the file is opened; one that may not, for each part as well. ``docs/lifetimes.md`` lists the rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from tests.reliability.conftest import Scripted
from tests.support.fake_archive import http_date
from tests.support.observers import noting
from tests.support.program import on_another_clock

PARTS = 3
ONCE, EACH = 1, 1 + PARTS
HOURS = 3600.0


@attrs.frozen
class Row:
    """``fields``: each a value, several ones, or an offset in seconds to the archive's clock. ``clock``: hours by which
    this machine's is off."""

    name: str
    fields: Mapping[str, str | Sequence[str] | float]
    requests: int
    rule: str
    clock: float = 0.0

    def at(self, now: datetime) -> dict[str, Sequence[str]]:
        """The fields of an answer that is sent ``now``."""
        found: dict[str, Sequence[str]] = {}
        for name, value in self.fields.items():
            if isinstance(value, str):
                value = [value.format(later=now + timedelta(seconds=60))]
            found[name] = [http_date(now + timedelta(seconds=value))] if isinstance(value, int | float) else value
        return found


FRESH = {"Cache-Control": "max-age=60"}
UNDATED: dict[str, Any] = {"Cache-Control": [], "Date": [], "Expires": 60.0}
KEPT: dict[str, Any] = {**FRESH, "Date": -600.0}

ADDRESSES = [
    Row("max-age", FRESH, ONCE, "RFC 9111, 4.2.1"),
    Row("nothing said", {"Cache-Control": []}, ONCE, "RFC 9111, 4.2.2: the signature's 60 s"),
    Row("max-age of 0", {"Cache-Control": "max-age=0"}, EACH, "RFC 9111, 5.2.2.1"),
    Row("max-age in quotes", {"Cache-Control": 'max-age="60"'}, ONCE, "RFC 9111, 5.2"),
    Row("max-age beyond 2^31", {"Cache-Control": "max-age=99999999999"}, ONCE, "RFC 9111, 1.2.2"),
    Row("max-age that is no number", {"Cache-Control": "max-age=soon"}, EACH, "RFC 9111, 4.2.1"),
    Row("max-age below 0", {"Cache-Control": "max-age=-60"}, EACH, "RFC 9111, 4.2.1"),
    Row("max-age twice, differing", {"Cache-Control": ["max-age=60", "max-age=90"]}, EACH, "RFC 9111, 4.2.1"),
    Row("max-age twice, the same", {"Cache-Control": ["max-age=60", "max-age=60"]}, ONCE, "RFC 9111, 4.2.1"),
    Row("no-store", {"Cache-Control": "no-store"}, EACH, "RFC 9111, 5.2.2.5"),
    Row("no-store on a line of its own", {"Cache-Control": ["max-age=60", "no-store"]}, EACH, "RFC 9111, 4.2.1"),
    Row("no-cache with fields", {"Cache-Control": 'no-cache="set-cookie", max-age=60'}, EACH, "RFC 9111, 5.2.2.4"),
    Row("must-understand", {"Cache-Control": "must-understand, no-store, max-age=60"}, ONCE, "RFC 9111, 5.2.2.3"),
    Row("s-maxage", {"Cache-Control": "s-maxage=0, max-age=60"}, ONCE, "RFC 9111, 5.2.2.10"),
    Row("a quoted comma", {"Cache-Control": r'ext="a\", no-store", max-age=60'}, ONCE, "RFC 9111, 5.2"),
    Row("Age", {**FRESH, "Age": "70"}, EACH, "RFC 9111, 4.2.3"),
    Row("Age twice", {**FRESH, "Age": ["10", "70"]}, ONCE, "RFC 9111, 5.1: the first"),
    Row("Age twice, the first too old", {**FRESH, "Age": ["70", "10"]}, EACH, "RFC 9111, 5.1: the first"),
    Row("Age that is no number", {**FRESH, "Age": "old"}, ONCE, "RFC 9111, 5.1"),
    Row("Expires", {"Cache-Control": [], "Expires": 60.0}, ONCE, "RFC 9111, 4.2.1"),
    Row("Expires in the past", {"Cache-Control": [], "Expires": -60.0}, EACH, "RFC 9111, 5.3"),
    Row("Expires: 0", {"Cache-Control": [], "Expires": "0"}, EACH, "RFC 9111, 5.3"),
    Row("Expires twice", {"Cache-Control": [], "Expires": ["{later:%c}", "{later:%c}"]}, EACH, "RFC 9111, 4.2.1"),
    Row("max-age over Expires", {**FRESH, "Expires": "0"}, ONCE, "RFC 9111, 5.3"),
    Row("RFC 850", {"Cache-Control": [], "Expires": "{later:%A, %d-%b-%y %H:%M:%S GMT}"}, ONCE, "RFC 9110, 5.6.7"),
    Row("asctime", {"Cache-Control": [], "Expires": "{later:%a %b %e %H:%M:%S %Y}"}, ONCE, "RFC 9110, 5.6.7"),
    *(
        row
        for clock in (0.0, 5 * HOURS, -5 * HOURS)
        for row in (
            Row("max-age", FRESH, ONCE, "RFC 9111, 4.2.3", clock),
            Row("no Date", UNDATED, ONCE, "RFC 9110, 6.6.1", clock),
            Row("no Date, expired", {**UNDATED, "Expires": -60.0}, EACH, "RFC 9110, 6.6.1", clock),
            Row("a Date of ten minutes ago", KEPT, EACH, "RFC 9111, 4.2.3: apparent_age", clock),
        )
    ),
]


def download(scripted: Scripted, row: Row, **environment: str) -> None:
    """Download three parts, with this machine's clock off as the row says."""
    scripted.archive.add_file("GHGAF01", os.urandom(5 * 65_536))
    if row.clock:
        environment |= on_another_clock(shift=row.clock)
    done = scripted.download(CONNECTOR_MAX_CONCURRENCY="1", **environment)
    assert done.code == 0, done.err
    assert scripted.archive.counts["get"] == PARTS


def named(rows: Sequence[Row]) -> list[str]:
    """Names for the rows."""
    return [f"{row.name} ({row.rule}; clock {row.clock / HOURS:+g} h)" for row in rows]


@pytest.mark.parametrize("row", ADDRESSES, ids=named(ADDRESSES))
def test_an_address_is_asked_for_as_often_as_its_answer_demands(scripted: Scripted, row: Any) -> None:
    scripted.archive.fields["object"] = row.at
    download(scripted, row)
    assert scripted.archive.counts["object"] == row.requests
    assert scripted.archive.counts["order"] == 1


TOKENS = [
    Row("max-age", {"Cache-Control": "max-age=30, private"}, ONCE, "RFC 9111, 4.2.1"),
    Row("nothing said", {"Cache-Control": []}, ONCE, "RFC 7519, 4.1.4: the token's own exp"),
    Row("no-store", {"Cache-Control": "no-store"}, EACH, "RFC 9111, 5.2.2.5; 4: address and envelope share one"),
    Row("Age", {"Age": "40"}, EACH, "RFC 9111, 4.2.3"),
    Row("a Date in an hour", {"Date": HOURS}, ONCE, "RFC 9111, 4.2.3: apparent_age is not below 0"),
    Row("a Date of ten minutes ago", {"Date": -600.0}, EACH, "RFC 9111, 4.2.3: apparent_age", 5 * HOURS),
]


@pytest.mark.parametrize("row", TOKENS, ids=named(TOKENS))
def test_a_token_is_asked_for_as_often_as_its_answer_demands(scripted: Scripted, row: Row) -> None:
    """With an address that is asked for once for each part, and needs a token each time."""
    scripted.archive.fields |= {"object": lambda _: {"Cache-Control": ["no-store"]}, "order": row.at}
    download(scripted, row)
    assert scripted.archive.counts["object"] == EACH
    assert scripted.archive.counts["order"] == row.requests


@attrs.frozen
class Refusal:
    """The first ``times`` requests of ``kind`` are refused; ``requests`` are made in all, from the first one on not
    before ``pause`` seconds are over, or ``at_once``."""

    name: str
    kind: str
    status: int
    times: int
    code: int
    requests: int
    rule: str
    fields: Mapping[str, str] = attrs.field(factory=dict)
    pause: float = 0.0
    at_once: bool = False


ALWAYS = 10**6
REFUSALS = [
    Refusal("401 once", "object", 401, 1, 0, 2, "RFC 9110, 15.5.2", at_once=True),
    Refusal("401 always", "object", 401, ALWAYS, 4, 2, "RFC 9110, 15.5.2", at_once=True),
    Refusal("401 for the access token", "order", 401, ALWAYS, 4, 1, "RFC 9110, 15.5.2"),
    Refusal("429 once", "object", 429, 1, 0, 2, "RFC 6585, 4"),
    Refusal("429 always", "object", 429, ALWAYS, 5, 4, "RFC 6585, 4"),
    Refusal("429, then", "object", 429, 1, 0, 2, "RFC 9110, 10.2.3", {"retry_after": "1"}, 1.0),
    Refusal("503 once", "order", 503, 1, 0, 2, "RFC 9110, 15.6.4"),
    Refusal("503 always", "order", 503, ALWAYS, 5, 4, "RFC 9111, 4: one of both asks"),
    Refusal("503, then", "order", 503, 1, 0, 2, "RFC 9110, 10.2.3", {"retry_after": "1"}, 1.0),
    Refusal("503, at once", "order", 503, 1, 0, 2, "RFC 9110, 10.2.3", {"retry_after": "0"}),
    Refusal("503, twice", "order", 503, 1, 0, 2, "RFC 9110, 10.2.3", {"retry_after": "0, 1"}, 1.0),
    Refusal(
        "503, a date",
        "order",
        503,
        1,
        0,
        2,
        "RFC 9110, 10.2.3",
        {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry_after": "Wed, 21 Oct 2015 07:28:01 GMT"},
        1.0,
    ),
    Refusal("503, in an hour", "order", 503, ALWAYS, 5, 1, "RFC 9110, 10.2.3", {"retry_after": "3600"}),
    Refusal("503, nonsense", "order", 503, 1, 0, 2, "RFC 9110, 10.2.3", {"retry_after": "soon"}),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[f"{row.name} {dict(row.fields)} ({row.rule})" for row in REFUSALS])
def test_who_is_refused_asks_again_as_often_and_as_soon_as_it_may(scripted: Scripted, row: Refusal) -> None:
    times: list[float] = []
    scripted.archive.add_file("GHGAF01", b"abc")
    scripted.archive.fail(row.kind, 500, times=ALWAYS, when=noting(times))
    scripted.archive.fail(row.kind, row.status, times=row.times, **dict[str, Any](row.fields))
    done = scripted.download(CONNECTOR_RETRIES="3")
    assert done.code == row.code, done.err
    # The header is asked for at the same time: tries begin anew if its answer comes after the first 429.
    more = 1 if row.name == "429 always" else 0
    assert row.requests <= len(times) <= row.requests + more
    assert row.pause <= times[-1] - times[0] < 60
    if row.at_once:
        assert set(re.findall(r"Trying again in (\S+) s", done.err)) == {"0.0"}
