"""Real processes that are asked to stop, once or twice; an archive that comes back; clocks that are hours apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos_stage import MIB, Published, Stage, sha256_of
from tests.support.faults import Faults
from tests.support.program import finish
from tests.support.waiting import wait_until

OPTIONS = ("--part-size", "5MiB", "--max-concurrency", 2)
SIZE = 24 * MIB
CRAWL = Faults(bytes_per_second=1e4)
"""From some moment on: a transfer is not done before what is to happen in its middle, however busy this machine is."""


@pytest.fixture
def published(stage: Stage) -> Published:  # One upload for all tests of the module: the archive keeps it.
    try:
        return stage.registered("interrupted.bin", seconds=0)
    except AssertionError:
        return stage.publish("interrupted.bin", SIZE)


def begun_download(stage: Stage, out: Path, token: str) -> subprocess.Popen[str]:
    stage.proxy.faults = Faults(bytes_per_second=3e6)
    process = stage.start("download", "--output-dir", out, *OPTIONS, token=token)
    before = stage.proxy.counts.downloaded
    wait_until(lambda: stage.proxy.counts.downloaded > before + 13 * MIB, "nothing came")
    stage.proxy.faults = CRAWL
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_download_that_is_asked_to_stop_goes_on_later(
    stage: Stage, published: Published, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    token = stage.grant_download(published.accession)
    out = tmp_path / "out"
    process = begun_download(stage, out, token)
    process.send_signal(number)
    done = finish(process)
    assert done.code == code, done.err
    assert "Stopping" in done.err
    assert f"Interrupted by {number.name}" in done.err
    assert sorted(path.suffix for path in out.iterdir()) == [".journal", ".part"]
    status = stage.run("status", "--output-dir", out)
    assert f"download  {published.accession}: " in status.out
    stage.calm()
    done = stage.run("download", "--output-dir", out, "--decrypt", *OPTIONS, token=token)
    done = stage.run("download", "--output-dir", out, *OPTIONS, token=token)
    assert done.code == 0, done.err
    assert stage.proxy.counts.downloaded < 2 * SIZE - 5 * MIB, "what was kept was not fetched again"
    assert sha256_of(out / f"{published.accession}.bin") == published.sha256


def test_asked_twice_it_ends_at_once(stage: Stage, published: Published, tmp_path: Path) -> None:
    number = signal.SIGTERM
    token = stage.grant_download(published.accession)
    out = tmp_path / "out"
    process = begun_download(stage, out, token)
    process.send_signal(number)
    process.send_signal(number)
    done = finish(process)
    assert done.code == 128 + number
    stage.calm()
    done = stage.run("download", "--output-dir", out, *OPTIONS, token=token)
    assert done.code == 0, done.err


def test_an_upload_that_is_asked_to_stop_goes_on_later_or_is_discarded(stage: Stage) -> None:
    path = stage.source("interrupted.bin", SIZE)
    token = stage.archive.grant_upload(stage.keys.public)
    stage.proxy.faults = Faults(bytes_per_second=3e6)
    process = stage.start("upload", path, "--alias", "stopped", *OPTIONS, token=token)
    wait_until(lambda: stage.proxy.counts.uploaded > 12 * MIB, "nothing went")
    stage.proxy.faults = CRAWL
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 143, done.err
    assert "SIGTERM" in done.err
    status = stage.run("status")
    assert "upload    stopped: " in status.out
    sent = stage.proxy.counts.uploaded
    stage.calm()
    done = stage.run("upload", path, "--alias", "stopped", *OPTIONS, token=token)
    assert done.code == 0, done.err
    assert sent + stage.proxy.counts.uploaded < SIZE + 11 * MIB
    assert stage.registered("stopped").sha256 == sha256_of(path)

    stage.proxy.faults = Faults(bytes_per_second=3e6)
    sent = stage.proxy.counts.uploaded
    process = stage.start("upload", path, "--alias", "given up", *OPTIONS, token=token)
    wait_until(lambda: stage.proxy.counts.uploaded > sent + 6 * MIB, "nothing went")
    stage.proxy.faults = CRAWL
    process.kill()
    finish(process)
    stage.calm()
    done = stage.run("discard", "given up", token=token)
    assert done.code == 0, done.err
    assert "Nothing is unfinished." in stage.run("status").err
    done = stage.run("upload", path, "--alias", "given up", *OPTIONS, token=token)
    assert done.code == 0, done.err


@pytest.mark.parametrize("what", ["download", "upload"])
def test_an_archive_that_is_restarted_in_the_middle(
    stage: Stage, published: Published, tmp_path: Path, what: str
) -> None:
    path = stage.source("interrupted.bin", SIZE)
    if what == "download":
        process = begun_download(stage, tmp_path / "out", stage.grant_download(published.accession))
    else:
        token = stage.archive.grant_upload(stage.keys.public)
        stage.proxy.faults = Faults(bytes_per_second=3e6)
        process = stage.start("upload", path, "--alias", "restarted", *OPTIONS, token=token)
        wait_until(lambda: stage.proxy.counts.uploaded > 7 * MIB, "nothing went")
    stage.proxy.faults = CRAWL
    stage.restart_archive()
    stage.calm()
    done = finish(process)
    assert done.code == 0, done.err
    if what == "upload":
        assert stage.registered("restarted").sha256 == sha256_of(path)


@pytest.mark.parametrize("hours", [5, -5])
def test_clocks_that_are_hours_apart(stage: Stage, published: Published, tmp_path: Path, hours: int) -> None:
    """Tokens and URLs seem to have run out, or to begin tomorrow; only what the archive's own clock says counts."""
    from tests.support import other_clock

    (folder,) = other_clock.__path__
    shifted: dict[str, Any] = {"PYTHONPATH": folder, "CHAOS_CLOCK_SHIFT": str(hours * 3600)}
    off = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **shifted}, capture_output=True
    )
    assert abs(float(off.stdout) - time.time() - hours * 3600) < 60, "the clock is off indeed"
    out = tmp_path / "out"
    token = stage.grant_download(published.accession)
    done = stage.run("download", "--output-dir", out, "--decrypt", *OPTIONS, token=token, **shifted)
    assert done.code == 0, done.err
    assert sha256_of(out / f"{published.accession}.bin") == published.sha256
    assert stage.proxy.counts.requests < 25, "each lease was fetched once or twice, not for every part"
    token = stage.archive.grant_upload(stage.keys.public)
    path = stage.source("interrupted.bin", SIZE)
    done = stage.run("upload", path, "--alias", f"off by {hours}", *OPTIONS, token=token, **shifted)
    assert done.code == 0, done.err
    assert stage.registered(f"off by {hours}").sha256 == published.sha256
