"""The demonstration for real: processes, sockets, files. Small, since `nox -s package` runs it large."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from connector.cli.commands.demo_run import working_folder
from tests.support.small_disk import small_disk_at


def demo(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "connector", "demo", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return {**ours, "TMPDIR": str(folder), "CONNECTOR_CONFIG": os.devnull, "HOME": str(folder)}


@pytest.mark.parametrize(("size", "count"), [("13MiB", 2), ("1", 1), ("65536", 3)])
def test_all_bytes_come_back_and_nothing_stays(tmp_path: Path, size: str, count: int) -> None:
    answer = subprocess.run(
        demo("--size", size, "--files", count, "--json", "--part-size", "6MiB"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    *steps, last = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [step["step"] for step in steps] == [
        "generate",
        "upload",
        "interrogation",
        "download",
        "download --decrypt",
        "decrypt",
        "compare sha256",
    ]
    assert last["identical"] is True
    assert 20_000_000 < last["peak_memory"] < 300_000_000
    assert 20_000_000 < last["peak_memory_archive"] < 300_000_000
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = demo("--size", "100KiB", "--keep", kept, "--quiet")
    first = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "identical" in first.stdout
    source = (kept / "source" / "sample-0001.bin").read_bytes()
    assert len(source) == 102_400
    for folder in ("decrypted-on-the-way", "decrypted-afterwards"):
        (came,) = (kept / folder).iterdir()
        assert came.read_bytes() == source
    again = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=180)
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_interrupted_it_takes_the_archive_and_the_folder_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        demo("--size", "192MiB"),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("generate:"):
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert "Interrupted by SIGINT" in err
    assert "identical" not in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["0", "much", "4096TiB"])
def test_sizes_that_cannot_be(tmp_path: Path, size: str) -> None:
    answer = subprocess.run(
        demo("--size", size), env=environment(tmp_path), capture_output=True, text=True, timeout=180
    )
    assert answer.returncode in (2, 3)
    assert len(answer.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    with ExitStack() as mounts:
        with working_folder(None, needed=1, on_left=told.append) as folder:
            for number in range(20):  # before and after it in the folder
                (folder / str(number)).write_bytes(b"x")
            mounts.enter_context(small_disk_at(folder / "mounted", "1m"))
        assert len(told) == 1
        assert str(folder) in told[0]
        assert os.listdir(folder) == ["mounted"], "all else is removed"
