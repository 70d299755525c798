from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth  # of pyte

from connector.cli.console import amount, span
from connector.cli.meter import FileState, State
from connector.cli.screen import columns, cut, lines, one_line, pause_line, shortened, single_line, wrapped


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (268_435_456, "268 MB"),
        (1_500_000_000, "1.50 GB"),
        (3e12, "3.00 TB"),
    ],
)
def test_amounts(size: float, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def state(**fields: object) -> State:
    usual = {"done": 1, "failed": 0, "total": 2, "through": 100_000_000, "expected": 400_000_000, "unknown": 0}
    return State(**{**usual, "remaining": 300_000_000, "rate": 50e6, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "1 of 2 files, 100 MB of 400 MB (25 %), 50.0 MB/s, 0:06 left"),
        ({"unknown": 1}, "1 of 2 files, 100 MB of at least 400 MB, 50.0 MB/s, at least 0:06 left"),
        (
            {"unknown": 2, "expected": 0, "through": 0, "remaining": 0, "rate": 0.0, "done": 0},
            "0 of 2 files, 0 B of an unknown size, 0.0 MB/s",
        ),
        ({"failed": 3, "total": 9}, "3 FAILED, 1 of 9 files, 100 MB of 400 MB (25 %), 50.0 MB/s, 0:06 left"),
        ({"silence": 25.0}, "1 of 2 files, 100 MB of 400 MB (25 %), nothing for 0:25"),
        ({"expected": 0, "through": 0, "remaining": 0, "rate": 0.0}, "1 of 2 files"),
        ({"remaining": 0}, "1 of 2 files, 100 MB of 400 MB (25 %), 50.0 MB/s"),
        ({"through": 0, "expected": 0, "remaining": 0, "rate": 0.0}, "1 of 2 files"),
        ({"through": 0, "expected": 0, "remaining": 0, "rate": 0.0, "total": 0}, ""),
    ],
)
def test_all_files_in_one_line(fields: dict[str, object], text: str) -> None:
    assert one_line(state(**fields)) == text


REASON = "https://archive.example cannot be reached: The name archive.example cannot be resolved: Try again later."


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_pause_stands_on_lines_of_its_own_with_its_seconds_first(width: int) -> None:
    drawn = lines(state(), [], [pause_line(REASON, 12, files=3)], width=width, height=24)
    assert all(len(line) < width for line in drawn)
    (first,) = [line for line in drawn if line.startswith("Trying again in 12 s, 3 files:")]
    if width >= 80:
        assert " ".join(drawn[drawn.index(first) :]) == f"Trying again in 12 s, 3 files: {REASON}"


def test_where_there_is_one_line_the_pause_has_it() -> None:
    assert single_line(state(), [pause_line(REASON, 12)], width=60) == f"Trying again in 12 s: {REASON[:34]}..."
    assert single_line(state(), [], width=200) == one_line(state())
    assert single_line(state(), [pause_line("staging", 75, waits=True)], width=60) == "Waiting 1:15: staging"


def test_the_newest_files_have_their_names() -> None:
    newest = [FileState("b.bam", 50, 100), FileState("a_very_long_name_R1.fastq.gz", 1, 3)]
    assert lines(state(), newest, [], width=40, height=24)[-2:] == [
        "  b.bam                  50 %  of 100 B",
        "  a_very_lo...fastq.gz   33 %  of 3 B",
    ]
    assert lines(state(total=1), newest[:1], [], width=80, height=24) == lines(
        state(total=1), [], [], width=80, height=24
    )


@given(
    st.integers(1, 130),
    st.integers(1, 30),
    st.lists(st.text(st.characters(categories=["L", "N", "M", "P", "Zs"])), max_size=4),
    st.booleans(),
)
def test_what_is_drawn_fits(width: int, height: int, names: list[str], paused: bool) -> None:
    newest = [FileState(name, 1, 3) for name in names]
    pauses = [pause_line(REASON, 7)] if paused else []
    drawn = lines(state(failed=1), newest, pauses, width=width, height=height)
    assert 1 <= len(drawn) <= max(1, height - 1)
    assert all(columns(line) <= max(1, width - 1) for line in drawn)
    assert columns(single_line(state(), pauses, width=width)) <= max(1, width - 1)


@pytest.mark.parametrize("text", ["abc", "Größe", "漢字.bam", "e\u0301te\u0301", "한국어", "ｆｕｌｌ", "\u0e19\u0e49"])
def test_columns_are_counted_as_terminals_do(text: str) -> None:
    assert columns(text) == wcswidth(text)


def test_cutting_and_shortening() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 5) == "ab..."
    assert cut("漢字漢字", 6) == "漢..."
    assert shortened("sample_0123456789_R1.fastq.gz", 20) == "sample_01...fastq.gz"
    assert columns(shortened("漢" * 30 + ".bam", 21)) <= 21
    assert shortened("sample_0123456789e\u0301.bam", 12) == "sampl....bam", "no accent stands on the dots"
    assert wrapped("one two three", 7, 2) == ["one two", "three"]
    assert wrapped("one two three four", 7, 2) == ["one two", "thre..."]
    assert wrapped("abcdefghij", 4, 3) == ["abcd", "efgh", "ij"]
