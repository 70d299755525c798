"""The process ends by returning, with the code of the command, and everything that was printed has arrived."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(arguments: str, **streams: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", f"import sys; from connector.cli import flushed; {arguments}"]
    return subprocess.run(command, text=True, env=environment, timeout=180, check=False, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("code", [0, 1, 6, 130])
def test_what_was_printed_arrives_with_the_code(code: int) -> None:
    done = run(
        f"sys.stdout.write('out' * 1000); sys.stderr.write('err'); sys.exit(flushed({code}))", capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "out" * 1000, "err")


@pytest.mark.skipif(sys.platform != "linux", reason="a device that is always full is Linux's")
@pytest.mark.parametrize(("code", "expected"), [(0, 3), (4, 4)])
def test_what_cannot_be_printed_is_no_success(code: int, expected: int) -> None:
    with open("/dev/full", "w") as full:
        assert run(f"sys.stdout.write('lost'); sys.exit(flushed({code}))", stdout=full).returncode == expected


def test_streams_that_are_not_there_do_not_matter() -> None:
    assert run("sys.stdout = None; sys.stderr.close(); sys.exit(flushed(5))", capture_output=True).returncode == 5


def test_what_runs_at_exit_runs(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    command: list[str | Path] = [sys.executable, "-m", "cProfile", "-o", profile, "-m", "connector", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "connector")
    assert profile.stat().st_size
