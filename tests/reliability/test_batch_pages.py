"""The lines to paste of docs/slurm.md, run by a real bash as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.reliability.batch_jobs import Job
from tests.reliability.conftest import Scripted
from tests.support.program import command, environment, finish, kill_at_end

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("bash"), reason="Slurm's nodes are Linux'")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "slurm.md"
BY_THE_CLOCK, BY_A_SIGNAL = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
JOB_ID = "4711"


@attrs.frozen
class BatchJob:
    """A job script, and a Slurm of which there is no more than ``scontrol`` and what it sets in the environment."""

    job: Job
    script: Path
    requeued: Path

    @classmethod
    def submit(cls, scripted: Scripted, text: str) -> BatchJob:
        job = attrs.evolve(Job.prepare(scripted, "download", latency=0.4), out="files")
        folder = scripted.folder
        tools = folder / "bin"
        tools.mkdir()
        requeued = folder / "requeued"
        write_tool(tools / "scontrol", f'echo "$@" >> {shlex.quote(str(requeued))}')
        options = "--decrypt --max-concurrency 2 --part-size 5MiB"
        write_tool(tools / "connector", f'exec {shlex.join(command())} "$@" {options}')
        script = folder / "job.sh"
        script.write_text(text)
        return cls(job, script, requeued)

    def start(self, *, end: float = 3600, **options: Any) -> subprocess.Popen[str]:
        self.job.let_go()
        folder = self.script.parent
        slurm = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": JOB_ID,
            "CONNECTOR_READ_TIMEOUT": "600",
            "SLURM_JOB_END_TIME": f"{time.time() + end:.0f}",
        }
        process: subprocess.Popen[str] = subprocess.Popen(
            ["bash", str(self.script)],
            cwd=folder,
            env=environment(**{**self.job.scripted.program.settings, **slurm}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        return process

    @property
    def requests(self) -> list[str]:
        return self.requeued.read_text().splitlines() if self.requeued.exists() else []


def write_tool(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_by_the_clock_the_job_is_requeued_until_all_is_done(scripted: Scripted) -> None:
    batch = BatchJob.submit(scripted, BY_THE_CLOCK)
    scripted.archive.latency["get"] = 300
    for seconds in (4, 16, 64):
        done = finish(batch.start(end=seconds))
        if done.code != 2:  # it had not even begun by then
            break
        assert batch.requests == []
    assert done.code == 75, done.err
    assert batch.requests == [f"requeue {JOB_ID}"]
    scripted.archive.latency["get"] = 0.4
    done = finish(batch.start())
    assert done.code == 0, done.err
    assert batch.requests == [f"requeue {JOB_ID}"], "once is enough"
    assert batch.job.is_done()


def test_by_a_signal_the_job_is_requeued_until_all_is_done(scripted: Scripted) -> None:
    batch = BatchJob.submit(scripted, BY_A_SIGNAL)
    process = batch.start()
    try:
        batch.job.wait_within(process)
        process.send_signal(signal.SIGUSR1)  # the batch shell alone gets it
        done = finish(process)
    finally:
        kill_at_end([process])
    assert done.code == 138, done.err
    assert "Interrupted by SIGUSR1" in done.err
    assert batch.requests == [f"requeue {JOB_ID}"]
    done = finish(batch.start())
    assert done.code == 0, done.err
    assert batch.requests == [f"requeue {JOB_ID}"]
    assert batch.job.is_done()


def test_a_job_that_is_cancelled_is_not_requeued(scripted: Scripted) -> None:
    """scancel sends SIGTERM to all processes of the job, so that the trap's comes in addition."""
    batch = BatchJob.submit(scripted, BY_A_SIGNAL)
    process = batch.start(start_new_session=True)
    try:
        batch.job.wait_within(process)
        os.killpg(process.pid, signal.SIGTERM)
        done = finish(process)
    finally:
        kill_at_end([process])
    assert done.code == 143, done.err
    assert "Ended at once" not in done.err
    assert batch.requests == []
    assert batch.job.run().code == 0
    assert batch.job.is_done()


def test_a_failure_is_not_requeued(scripted: Scripted) -> None:
    batch = BatchJob.submit(scripted, BY_A_SIGNAL)
    scripted.archive.files.clear()
    (scripted.folder / "my.sec").unlink()
    done = finish(batch.start())
    assert done.code in (2, 3), done.err
    assert batch.requests == []


def test_exec_lets_the_command_get_the_signal(scripted: Scripted) -> None:
    script = BY_THE_CLOCK.partition("connector download")[0] + "exec connector download --output-dir files\n"
    batch = BatchJob.submit(scripted, script)
    process = batch.start()
    try:
        batch.job.wait_within(process)
        process.send_signal(signal.SIGUSR1)
        done = finish(process)
    finally:
        kill_at_end([process])
    assert done.code == 138, done.err
