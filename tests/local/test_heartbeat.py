"""Claims are touched while they are held, and only while they are ours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.local.lock_file import Heartbeat, LockFile


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def beating() -> int:
    return sum(thread.name == "connector-heartbeat" for thread in threading.enumerate())


@pytest.fixture
def heartbeat() -> Heartbeat:
    return Heartbeat(seconds=0.02)


def old(path: Path) -> float:
    """Make the file look old, and tell when it was touched last."""
    os.utime(path, (1000, 1000))
    return path.stat().st_mtime


def test_a_claim_is_touched_for_as_long_as_it_is_held(tmp_path: Path, heartbeat: Heartbeat) -> None:
    before = beating()
    claims = [LockFile.take(tmp_path / name, heartbeat=heartbeat) for name in ("a.lock", "b.lock")]
    assert beating() == before + 1, "one thread for all"
    for claim in claims:
        old(claim.path)
        assert eventually(lambda claim=claim: claim.path.stat().st_mtime > 1000)  # type: ignore[misc]
    for claim in claims:
        claim.release()
    assert eventually(lambda: beating() == before), "no thread without claims"
    again = LockFile.take(tmp_path / "a.lock", heartbeat=heartbeat)
    old(again.path)
    assert eventually(lambda: again.path.stat().st_mtime > 1000)
    again.release()


def test_the_claim_of_another_is_not_kept_alive(tmp_path: Path, heartbeat: Heartbeat) -> None:
    claim = LockFile.take(tmp_path / "a.lock", heartbeat=heartbeat)
    claim.path.write_text("another's")
    touched = old(claim.path)
    time.sleep(0.1)
    assert claim.path.stat().st_mtime == touched
    heartbeat.remove(claim.path)


def test_a_file_system_that_was_away_for_a_moment_ends_nothing(tmp_path: Path, heartbeat: Heartbeat) -> None:
    claim = LockFile.take(tmp_path / "a.lock", heartbeat=heartbeat)
    mark = claim.path.read_bytes()
    claim.path.unlink()
    time.sleep(0.05)
    claim.path.write_bytes(mark)
    old(claim.path)
    assert eventually(lambda: claim.path.stat().st_mtime > 1000)
    claim.release()
    assert not claim.path.exists()


FORK = """
import os, threading
from pathlib import Path
from connector.local.lock_file import LockFile

parents = LockFile.take(Path("parent.lock"))
if (pid := os.fork()) == 0:
    LockFile.take(Path("child.lock"))
    beats = [thread.name for thread in threading.enumerate()].count("connector-heartbeat")
    os._exit(beats)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_process_has_a_heartbeat_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=180)
    assert done.stdout.strip() == "1"
