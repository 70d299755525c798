"""How often something is polled that may take long."""

from __future__ import annotations

import math

import pytest

from connector.transfer.steps import polling_pause


@pytest.mark.parametrize(
    ("waited", "left", "cost", "drawn", "pause"),
    [
        (0, math.inf, 0, 1, 1),
        (0, math.inf, 0, 0, 0.75),
        (100, math.inf, 0, 1, 10),
        (100, math.inf, 0, 0, 7.5),
        (100_000, math.inf, 0, 1, 60),
        (100, math.inf, 25, 1, 25),
        (100, 12, 0, 1, 6),
        (100, 0.5, 0, 1, 1),
    ],
)
def test_a_pause(waited: int, left: float, cost: int, drawn: int, pause: float) -> None:
    assert polling_pause(waited, left, cost, lambda: drawn) == pytest.approx(pause)


def test_a_long_wait_costs_few_requests_and_is_noticed_in_time() -> None:
    waited, asked = 0.0, 0
    while waited < 86_400:
        waited += polling_pause(waited, math.inf, 0.0, lambda: 0.5)
        asked += 1
    assert asked < 1800
    assert waited - 86_400 <= 60
