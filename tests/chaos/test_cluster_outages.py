"""Whatever is away of an archive on MongoDB and S3, full or started again, nothing is lost, and no check is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cluster_outages import OUTAGES, run
from tests.support.nginx import find_nginx


@pytest.mark.soak
@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_under_uploads_deletes_and_checks(outage: str, tmp_path: Path) -> None:
    find_nginx()
    outcome = run(outage, 12, 120.0, tmp_path, print)
    print(outcome)
    assert outcome.wrong == []
    assert outcome.checks[0] > 0
    assert outcome.compared[0] == list(outcome.states.values()).count("archived") > 0
