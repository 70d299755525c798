"""Whatever is killed of an archive on MongoDB and S3, nothing is lost and nothing is left over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.cluster_kills import Plan, run
from tests.support.nginx import find_nginx

SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.soak
def test_servers_workers_and_the_primary_are_killed_under_uploads_and_deletes(tmp_path: Path) -> None:
    find_nginx()
    outcome = run(Plan(uploads=40, deletes=20, kills=40, seed=SEED), tmp_path, print)
    print(outcome)
    assert outcome.wrong == []
    assert sum(outcome.kills.values()) == 40
    assert set(outcome.kills) == {"server", "worker", "primary"}
    assert outcome.compared[0] == list(outcome.states.values()).count("archived") > 0
