"""An archive that is served by processes of its own, and what its steward does meanwhile in this one."""

from __future__ import annotations

import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.config import ArchiveConfig

T = TypeVar("T")

READY = "Archive ready at "
SET_UPS = ("embedded", pytest.param("cluster", marks=pytest.mark.soak))
"""Of tests that run on both; on a cluster ``nox -s cluster`` runs them."""


class ServedArchive(ABC):
    """What tests know of an archive, whatever it is made of.

    Attributes:
        wkvs_url: The URL of its well-known values.
    """

    wkvs_url: str

    @property
    @abstractmethod
    def config(self) -> ArchiveConfig:
        """Its configuration."""

    @property
    @abstractmethod
    def location(self) -> tuple[str | Path, ...]:
        """The options with which ``connector archive`` finds it."""

    @abstractmethod
    def administer(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        """Do something with the archive from outside its processes."""

    def grant_upload(self, public_key: bytes, **options: Any) -> str:
        """An access token for a new upload box."""
        return self.administer(lambda archive: admin.grant_upload(archive, public_key, **options)).access_token

    def grant_download(self, public_key: bytes, accessions: Sequence[str] | None = None) -> str:
        """An access token for downloads."""
        return self.administer(lambda archive: admin.grant_download(archive, public_key, accessions)).access_token

    def wait_for_file(self, file_id: str, *, state: str = "archived", seconds: float = 180) -> dict[str, Any]:
        """What is listed about an upload, once it is in ``state``."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.administer(lambda archive: admin.list_files(archive, uploads=True))
            row = next((row for row in rows if row["file_id"] == file_id), None)
            if row is not None and row["state"] == state:
                return row
            assert row is None or row["state"] != "failed", row
            assert time.monotonic() < deadline, f"still not {state}: {row}"
            time.sleep(0.05)


MakeArchive = Callable[..., AbstractContextManager[ServedArchive]]


def start(command: str, log: Path, *options: str | Path) -> subprocess.Popen[str]:
    """Start ``connector archive serve`` or ``work``, whose errors are appended to a file: a pipe could fill up."""
    words = [sys.executable, "-m", "connector", "archive", command, *map(str, options)]
    with log.open("a") as errors:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)


def read_url(process: subprocess.Popen[str], log: Path) -> str:
    """The URL of the well-known values of a server that was just started, once it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(READY), log.read_text()
    return line.removeprefix(READY).strip()


def end(process: subprocess.Popen[str], log: Path) -> None:
    """Stop a process in good order, and fail if it has told of a bug."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=180)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    assert "Traceback" not in log.read_text(), log.read_text()
