"""The limit on lines with delay: are they full soon, with few connections, whatever goes wrong on them?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from connector.config import Settings
from connector.session.opening import network_limit
from tests.support.wide_area_line import MB, MIB, WideAreaLine

WAYS = pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
COMBINATIONS = [(ms, window, capacity) for ms in (20, 100, 250) for window in (1, 4) for capacity in (50, 125)]
LEAST = {20: 0.93, 100: 0.9, 250: 0.85}


def make_line(ms: int, window: float, capacity: int, *, up: bool, **options: object) -> WideAreaLine:
    limit = network_limit(Settings(), ms / 1000)
    return WideAreaLine(limit, ms / 1000, window * MIB, capacity * MB, up, **options)  # type: ignore[arg-type]


@WAYS
@pytest.mark.parametrize(("ms", "window", "capacity"), COMBINATIONS)
def test_a_line_is_full_from_its_first_seconds_on(ms: int, window: int, capacity: int, up: bool) -> None:
    line = make_line(ms, window, capacity, up=up).run((15 if ms == 20 else 30) * capacity * MB)
    assert line.utilization() >= LEAST[ms]
    if ms == 20 or (ms, window, capacity) == (100, 4, 50):
        assert max(line.heights) <= 12, "each connection takes memory"


@WAYS
@pytest.mark.parametrize("ms", [100, 250])
def test_parts_that_began_together_end_together(ms: int, up: bool) -> None:
    """Each connection is limited by its window, so all are silent at once while the next parts are asked for."""
    line = make_line(ms, 1, 125, up=up, processing=0.005).run(30 * 125 * MB)
    assert line.utilization() >= LEAST[ms]


def changing(begin: float, end: float, share: float) -> Callable[[float], float]:
    return lambda now: share if begin <= now < end else 1.0


@WAYS
@pytest.mark.parametrize("ms", [20, 100, 250])
def test_capacity_that_goes_and_comes_back(ms: int, up: bool) -> None:
    line = make_line(ms, 4, 125, up=up, share=changing(20, 40, 0.2)).run(60 * 125 * MB)
    assert line.utilization(45, 60) >= 0.95


@cache
def seconds_without_faults(ms: int, up: bool) -> float:
    return make_line(ms, 4, 50, up=up).run(40 * 50 * MB).now


@WAYS
@pytest.mark.parametrize(
    "faults", [{"resets_every": 20.0}, {"losses_every": 5.0}, {"stalls_every": 30.0}], ids=lambda faults: min(faults)
)
@pytest.mark.parametrize("ms", [20, 100])
def test_faults_cost_little(ms: int, faults: dict[str, float], up: bool) -> None:
    line = make_line(ms, 4, 50, up=up, **faults).run(40 * 50 * MB)
    assert line.now <= seconds_without_faults(ms, up) / 0.85
    assert max(line.heights) <= 12


@WAYS
@pytest.mark.parametrize("ms", [20, 100, 250])
def test_a_server_that_refuses_above_six(ms: int, up: bool) -> None:
    line = make_line(ms, 1, 125, up=up, refuses_above=6).run(1500 * MB)
    assert line.refused < 0.03 * line.requests + 2
    settled = line.heights[len(line.heights) // 2 :]
    assert sum(height in (5, 6) for height in settled) > 0.8 * len(settled)
