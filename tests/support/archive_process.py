"""An embedded archive in a process of its own."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from connector.archive import admin
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import ArchiveConfig, embedded
from connector.archive.config_file import read_config
from connector.cli.root import run_command_line
from tests.support.served_archive import ServedArchive, end, read_url, start

T = TypeVar("T")


@attrs.frozen
class ArchiveProcess(ServedArchive):
    """A served embedded archive: its directory, the URL of its well-known values, and its process."""

    root: Path
    wkvs_url: str
    process: subprocess.Popen[str]

    @property
    def config(self) -> ArchiveConfig:
        return embedded(self.root)

    @property
    def location(self) -> tuple[str | Path, ...]:
        return "--root", self.root

    def administer(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        return _administer(self.config, job)

    def wait_for_jobs(self) -> None:
        """Wait until no job is due or in progress: what is looked at after that has been brought to its end."""
        deadline = time.monotonic() + 180
        while jobs := self.administer(admin.list_jobs):
            assert time.monotonic() < deadline, jobs
            time.sleep(0.1)

    def stop(self) -> int:
        """Ask the server to stop; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=180)


@attrs.frozen
class ConfiguredArchive(ServedArchive):
    """An archive of an ``archive.toml``, the URL of its well-known values, and the process that serves it."""

    config_file: Path
    wkvs_url: str
    process: subprocess.Popen[str]

    @property
    def config(self) -> ArchiveConfig:
        return read_config(self.config_file, environment={})

    @property
    def location(self) -> tuple[str | Path, ...]:
        return "--config", self.config_file

    def administer(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        return _administer(self.config, job)


def _administer(config: ArchiveConfig, job: Callable[[Archive], Awaitable[T]]) -> T:
    async def main() -> T:
        async with open_archive(config) as archive:
            return await job(archive)

    return trio.run(main)


@contextmanager
def serving_config(file: Path, *options: str) -> Iterator[ConfiguredArchive]:
    """Serve the archive of an ``archive.toml`` on a free port."""
    log = file.with_suffix(".log")
    process = start("serve", log, "--config", file, "--port", "0", *options)
    try:
        yield ConfiguredArchive(file, read_url(process, log), process)
    finally:
        end(process, log)


@contextmanager
def served_archive(root: Path, *options: str) -> Iterator[ArchiveProcess]:
    """Serve the archive below ``root`` on a free port; clients need not wait long for staging unless told otherwise."""
    with serving(root, "--retry-after", "1", *options) as served:
        yield served


@contextmanager
def serving(root: Path, *options: str) -> Iterator[ArchiveProcess]:
    """Serve the archive below ``root`` on a free port with these options alone."""
    log = root.with_name(f"{root.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    process = start("serve", log, "--root", root, "--port", "0", *options)
    try:
        yield ArchiveProcess(root, read_url(process, log), process)
    finally:
        end(process, log)


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line, in this process: starting another takes longer than all it does."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_command_line(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_cli_json(*arguments: str) -> Any:
    """Run one command that prints JSON."""
    done = run_cli(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
