"""A line that does everything at once, and leases that live for seconds. Small; large by hand with ``rough.py``."""

from __future__ import annotations

import pytest

from tests.chaos import rough
from tests.support.chaos_stage import MIB, Stage, open_stage


@pytest.mark.parametrize("what", ["download", "upload"])
def test_a_line_that_cuts_refuses_and_stalls(stage: Stage, what: str) -> None:
    faults = rough.rough(seed=5, cut_after=(MIB, 16 * MIB), stall_seconds=3.0)
    figures = rough.transfer(stage, what, 40 * MIB, faults, name=f"rough-{what}.bin")
    assert figures.right, figures.said
    assert figures.counts.cut > 0
    assert figures.counts.refused > 0


@pytest.mark.parametrize("what", ["download", "upload"])
def test_tokens_and_urls_that_live_for_seconds(tmp_path_factory: pytest.TempPathFactory, what: str) -> None:
    """Throttled, so that the transfer outlives them several times."""
    folder = tmp_path_factory.mktemp(f"leases-{what}") / "stage"
    with open_stage(folder, "--work-order-lifetime", "3", "--url-lifetime", "2") as stage:
        figures = rough.transfer(stage, what, 22 * MIB, rough.slow(1.5e6), name="leases.bin")
        assert figures.right, figures.said
        assert figures.seconds > 4, "or the leases were never put to the test"
