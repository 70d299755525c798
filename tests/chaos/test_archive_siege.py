"""Server and clients of an archive are killed while files are uploaded and deleted: nothing is lost or left.

``CHAOS_KILLS`` says how often; 30 are 40 uploads and 20 deletes.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.archive_siege import besieged

KILLS = int(os.environ.get("CHAOS_KILLS", "6"))


def test_kills_of_server_and_clients_leave_nothing(tmp_path: Path) -> None:
    with besieged(tmp_path, uploads=KILLS * 4 // 3, deletes=KILLS * 2 // 3, kills=KILLS, seed=KILLS) as siege:
        outcome = siege.run(print)
    assert outcome.kills == KILLS
    assert (outcome.kept.files, outcome.kept.size) == (0, 0)
    assert outcome.kept.faults == []
    assert outcome.missing == set()
