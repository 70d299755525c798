from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.transfer.steps import Backoff


@pytest.mark.parametrize(
    ("tries", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 30.0), (8, 30.0), (10**9, 30.0)]
)
def test_the_wait_doubles_up_to_the_cap(tries: int, longest: float) -> None:
    assert Backoff(base=0.5, cap=30.0).wait(tries, lambda: 1.0) == longest


@pytest.mark.parametrize("tries", [1, 2, 5, 100])
def test_even_the_luckiest_draw_waits_a_little(tries: int) -> None:
    assert Backoff(base=0.5, cap=30.0).wait(tries, lambda: 0.0) == pytest.approx(0.05)


@given(st.floats(0.001, 100), st.floats(0.001, 1000), st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_lies_between_a_tenth_of_the_base_and_the_cap(base: float, cap: float, tries: int, draw: float) -> None:
    wait = Backoff(base=base, cap=cap).wait(tries, lambda: draw)
    assert min(base, cap) * 0.1 <= wait <= cap


def test_waits_are_spread_over_the_whole_range() -> None:
    """Full jitter: callers that failed together must not come back together."""
    uniform = random.Random(5).random
    waits = [Backoff(base=1.0, cap=8.0).wait(4, uniform) for _ in range(2000)]
    assert sum(waits) / len(waits) == pytest.approx(4.0, rel=0.1)
    assert sum(wait < 2 for wait in waits) == pytest.approx(500, rel=0.2)


@pytest.mark.parametrize(
    ("asked", "longest"), [(0.1, 0.6), (1.0, 1.5), (2.0, 3.0), (60.0, 90.0), (600.0, 630.0), (86_400.0, 86_430.0)]
)
def test_a_wait_that_was_asked_for_is_kept_and_made_a_little_longer(asked: float, longest: float) -> None:
    backoff = Backoff(base=0.5, cap=30.0)
    assert backoff.wait_requested(asked, lambda: 0.0) == asked
    assert backoff.wait_requested(asked, lambda: 1.0) == pytest.approx(longest)


@given(st.floats(0.001, 1e6), st.floats(0, 1, exclude_max=True))
def test_nobody_comes_back_earlier_than_asked(asked: float, draw: float) -> None:
    assert asked <= Backoff().wait_requested(asked, lambda: draw) <= asked + max(0.5, min(asked / 2, 30.0))
