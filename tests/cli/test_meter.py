"""Counting: totals from the start, nothing taken back that is kept, nothing left out that failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.meter import FileState, Meter


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter(0.0)
    meter.open("a", 10_000_000_000, 0.0)
    for second in range(1, 101):
        meter.move("a", 1_000_000, float(second))
        assert meter.state(float(second)).rate == pytest.approx(1_000_000)
    for second in range(101, 131):
        meter.move("a", 5_000_000, float(second))
        meter.state(float(second))
    assert meter.state(130.0).rate == pytest.approx(5_000_000)


def test_all_files_count_from_the_start() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100), ("b", 300)])
    state = meter.state(0.0)
    assert (state.done, state.total, state.through, state.expected, state.unknown) == (0, 2, 0, 400, 0)
    meter.open("a", 100, 0.0)
    meter.move("a", 100, 2.0)
    assert meter.close("a", True, 2.0) == (100, 2.0)
    state = meter.state(2.0)
    assert (state.done, state.total, state.through, state.expected, state.remaining) == (1, 2, 100, 400, 300)


def test_sizes_that_are_not_known_are_counted_as_such() -> None:
    meter = Meter(0.0)
    meter.plan([("a", None), ("b", None), ("c", None)])
    assert meter.state(0.0).unknown == 3
    meter.open("a", 70, 0.0)
    state = meter.state(0.0)
    assert (state.total, state.expected, state.unknown) == (3, 70, 2)
    meter.close("b", False, 1.0)  # it stays unknown
    meter.close("c", True, 1.0)  # it was there already
    state = meter.state(1.0)
    assert (state.done, state.failed, state.total, state.unknown) == (1, 1, 3, 1)


def test_a_size_that_turns_out_to_be_another_is_corrected() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100)])
    meter.open("a", 90, 0.0)
    assert meter.state(0.0).expected == 90


def test_a_failed_file_stays_in_the_denominator_and_is_not_waited_for() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100), ("b", 100), ("c", 100)])
    meter.open("a", 100, 0.0)
    meter.open("b", 100, 0.0)
    meter.move("a", 30, 1.0)
    meter.close("a", False, 1.0)
    meter.close("c", False, 1.0)
    state = meter.state(1.0)
    assert (state.failed, state.total, state.through, state.expected, state.remaining) == (2, 3, 30, 300, 100)


def test_what_was_there_already_is_done() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100), ("b", 100)])
    assert meter.close("a", True, 0.0) is None
    state = meter.state(5.0)
    assert (state.done, state.through, state.expected, state.remaining, state.rate) == (1, 100, 200, 100, 0.0)


def test_what_is_done_next_with_the_files_is_counted_from_zero_but_for_failed_ones() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100), ("b", 100), ("c", None)])
    meter.close("a", True, 1.0)
    meter.close("b", False, 1.0)
    meter.close("c", False, 1.0)
    meter.plan([("a", 0)])
    state = meter.state(2.0)
    assert (state.done, state.failed, state.total, state.expected, state.through, state.unknown) == (0, 2, 3, 0, 0, 0)


def test_bytes_that_are_kept_are_done_but_were_not_moved() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.keep("a", 60)
    meter.move("a", 10, 5.0)
    state = meter.state(5.0)
    assert (state.through, state.remaining, state.rate) == (70, 30, 2.0)
    meter.keep("a", -20)
    assert meter.state(5.0).through == 50
    meter.move("a", 50, 6.0)
    assert meter.close("a", True, 6.0) == (60, 6.0)


def test_bytes_of_a_failed_try_are_taken_back() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.move("a", 60, 1.0)
    meter.move("a", -60, 2.0)
    state = meter.state(3.0)
    assert (state.through, state.remaining, state.rate) == (0, 100, 0.0)


def test_a_file_that_begins_again_is_counted_once() -> None:
    meter = Meter(0.0)
    meter.plan([("a", 100)])
    meter.open("a", 100, 0.0)
    meter.move("a", 80, 1.0)
    meter.open("a", 100, 2.0)
    meter.keep("a", 50)
    state = meter.state(2.0)
    assert (state.total, state.through, state.expected, state.remaining) == (1, 50, 100, 50)


def test_the_newest_files_are_named() -> None:
    meter = Meter(0.0)
    for name in "abc":
        meter.open(name, 10, 0.0)
    meter.move("c", 4, 1.0)
    assert meter.state(1.0, newest=2).newest == (FileState("c", 4, 10), FileState("b", 0, 10))
    meter.close("c", True, 1.0)
    assert [file.label for file in meter.state(1.0, newest=4).newest] == ["b", "a"]


def test_a_stall_is_noticed_and_a_sign_of_life_ends_it() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.move("a", 1, 5.0)
    assert meter.state(20.0).silence is None
    assert meter.state(30.0).silence == 25.0
    meter.move("a", 0, 31.0)
    assert meter.state(32.0).silence is None


EVENTS = st.lists(
    st.tuples(st.sampled_from(["plan", "open", "move", "keep", "close"]), st.sampled_from("abc"), st.integers(-9, 30))
)


@given(EVENTS)
def test_the_numbers_agree_whatever_happens(events: list[tuple[str, str, int]]) -> None:
    meter = Meter(0.0)
    for number, (event, label, size) in enumerate(events):
        if event == "plan":
            meter.plan([(label, size if size > 0 else None)])
        elif event == "open":
            meter.open(label, abs(size), float(number))
        elif event == "move":
            meter.move(label, abs(size), float(number))
        elif event == "keep":
            meter.keep(label, abs(size))
        else:
            meter.close(label, size % 2 == 0, float(number))
        state = meter.state(float(number))
        assert 0 <= state.through <= state.expected
        assert 0 <= state.remaining <= state.expected - state.through
        assert 0 <= state.unknown <= state.total
        assert state.done + state.failed <= state.total
