"""An embedded archive in a process of its own, and what its steward does meanwhile in this one."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from connector.archive import admin
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.cli.root import run_command_line

T = TypeVar("T")

READY = "Archive ready at "


@attrs.frozen
class ArchiveProcess:
    """A served archive: its directory, the URL of its well-known values, and its process."""

    root: Path
    wkvs_url: str
    process: subprocess.Popen[str]

    def administer(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        """Do something with the archive's directory from outside the server."""

        async def main() -> T:
            async with open_archive(embedded(self.root)) as archive:
                return await job(archive)

        return trio.run(main)

    def grant_upload(self, public_key: bytes, **options: Any) -> str:
        """An access token for a new upload box."""
        return self.administer(lambda archive: admin.grant_upload(archive, public_key, **options)).access_token

    def grant_download(self, public_key: bytes, accessions: Sequence[str] | None = None) -> str:
        """An access token for downloads."""
        return self.administer(lambda archive: admin.grant_download(archive, public_key, accessions)).access_token

    def wait_for_file(self, file_id: str, *, state: str = "archived", seconds: float = 10) -> dict[str, Any]:
        """What is listed about an upload, once it is in ``state``."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.administer(lambda archive: admin.list_files(archive, uploads=True))
            row = next((row for row in rows if row["file_id"] == file_id), None)
            if row is not None and row["state"] == state:
                return row
            assert time.monotonic() < deadline, f"still not {state}: {row}"
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask the server to stop; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)


@contextmanager
def served_archive(root: Path, *options: str) -> Iterator[ArchiveProcess]:
    """Serve the archive below ``root`` on a free port; clients need not wait long for staging unless told otherwise."""
    with serving(root, "--retry-after", "1", *options) as served:
        yield served


@contextmanager
def serving(root: Path, *options: str) -> Iterator[ArchiveProcess]:
    """Serve the archive below ``root`` on a free port with these options alone."""
    command = [sys.executable, "-m", "connector", "archive", "serve", "--root", str(root), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(READY), process.stderr.read()
        yield ArchiveProcess(root, line.removeprefix(READY).strip(), process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        errors = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert "Traceback" not in errors, errors


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
