"""The short form of the runner in ``kills.py``; ``CHAOS_KILLS`` says how many (6 each way if it says nothing)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import kills
from tests.support.chaos_stage import MIB

KILLS = int(os.environ.get("CHAOS_KILLS", "6"))


@pytest.mark.slow
@pytest.mark.parametrize(("what", "share"), [("download", 0.5), ("decrypt", 0.5), ("upload", 1.0)])
def test_killed_and_run_again_it_is_right_and_nothing_finished_goes_twice(
    tmp_path: Path, what: str, share: float
) -> None:
    number = max(1, round(KILLS * share))
    all_of_them = kills.run(what, number, 24 * MIB, seed=number, folder=tmp_path / "stage", tell=print, speed=16e6)
    assert sum(killed.kills for killed in all_of_them) >= number
    assert [str(killed) + killed.last.err for killed in all_of_them if not killed.good] == []
