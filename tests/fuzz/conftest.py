"""How long to fuzz: ``FUZZ_SECONDS`` for each property (2 in all runs of the tests; 60 and more by hand, or in nox)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))

Fuzz = Callable[[SearchStrategy[Any], Callable[[Any], None]], int]


@pytest.fixture
def fuzz() -> Fuzz:
    """Try a property with as many examples as there is time for; returns how many there were."""

    def run(strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> int:
        until = time.monotonic() + SECONDS
        examples = 0

        @settings(
            max_examples=200,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def batch(value: Any) -> None:
            nonlocal examples
            examples += 1
            began = time.process_time()
            check(value)
            assert time.process_time() - began < 15, "that took too long"

        while time.monotonic() < until:
            batch()
        return examples

    return run
