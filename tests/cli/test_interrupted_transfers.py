"""Real transfers over a slow line, ended by real signals: what the user sees, what is kept, and how it goes on."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from connector.upload.listing import unfinished_uploads
from persistence.testing.servers.processes import free_port
from tests.support.archive_process import served_archive
from tests.support.chaos_stage import proxy_thread
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Faults
from tests.support.served_archive import SET_UPS, ServedArchive

SIZE = 11 * 1024 * 1024
SLOW = Faults(bytes_per_second=6_000_000)
CRAWL = Faults(bytes_per_second=10_000)
"""Before a signal: the transfer is not done before it gets it, however busy this machine is."""


@attrs.frozen
class Stand:
    """An archive behind a slow line, and commands against it as processes of their own."""

    archive: ServedArchive
    line: FaultProxy
    keys: KeyPair
    folder: Path

    def environment(self, token: str) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        return {
            **ours,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "CONNECTOR_CONFIG": os.devnull,
            "CONNECTOR_WKVS_URL": self.archive.wkvs_url,
            "CONNECTOR_ACCESS_TOKEN": token,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(self.folder / "my.sec"),
            "CONNECTOR_MAX_CONCURRENCY": "2",
            "CONNECTOR_PART_SIZE": "5MiB",
        }

    def start(self, token: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "connector", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(token),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, token: str, *arguments: str) -> tuple[int, str, str]:
        process = self.start(token, *arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def unfinished(self) -> list[dict[str, Any]]:
        code, out, err = self.run("none", "status", "--output-dir", "out", "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def interrupt(self, token: str, number: signal.Signals, when: Callable[[], bool], *arguments: str) -> str:
        """Start a command, send a signal once ``when`` holds, and return what it said."""
        process = self.start(token, *arguments)
        deadline = time.monotonic() + 180
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.line.faults = CRAWL
        process.send_signal(number)
        out, err = process.communicate(timeout=180)
        self.line.faults = SLOW
        assert process.returncode == 128 + number, err
        assert "Traceback" not in err
        assert out == ""
        return err


@contextmanager
def slow_line(port: int, upstream: int) -> Iterator[FaultProxy]:
    """Pass on what comes to a port, slowly."""
    with proxy_thread(("127.0.0.1", upstream), port) as proxy:
        proxy.faults = SLOW
        yield proxy


@pytest.fixture(params=SET_UPS)
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    port, keys = free_port(), write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase=None)
    if request.param == "cluster":
        s3, make_cluster = request.getfixturevalue("s3_server"), request.getfixturevalue("make_cluster")
        slow = attrs.evolve(s3, url=f"http://127.0.0.1:{port}")
        with slow_line(port, int(s3.url.rpartition(":")[2])) as line, make_cluster(s3=slow) as archive:
            yield Stand(archive, line, keys, tmp_path)
        return
    upstream = free_port()
    options = ("--port", str(upstream), "--public-url", f"http://127.0.0.1:{port}")
    with served_archive(tmp_path / "archive", *options) as archive, slow_line(port, upstream) as line:
        yield Stand(archive, line, keys, tmp_path)


def test_both_ways_go_on_after_a_signal_in_the_middle(stand: Stand) -> None:
    source = stand.folder / "a.bin"
    source.write_bytes(os.urandom(SIZE))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()

    upload = stand.archive.grant_upload(stand.keys.public)
    journals = stand.folder / "state" / "connector"
    said = stand.interrupt(
        upload, signal.SIGTERM, lambda: any(unfinished_uploads(p) for p in journals.glob("*")), "upload", "a.bin"
    )
    assert "SIGTERM" in said
    (left,) = stand.unfinished()
    assert (left["kind"], left["name"]) == ("upload", "a.bin")
    assert left["done"] < SIZE
    code, out, err = stand.run(upload, "upload", "a.bin", "--json")
    assert code == 0, err
    (record,) = [json.loads(line) for line in out.splitlines()]
    assert record["sha256"] == digest
    assert stand.unfinished() == []
    file = stand.archive.wait_for_file(record["file_id"])

    download = stand.archive.grant_download(stand.keys.public)
    arguments = ("download", "--output-dir", "out", "--decrypt", "--part-size", "1MiB")
    target = stand.folder / "out" / f"{file['accession']}.bin"
    working = target.with_name(target.name + ".part")
    said = stand.interrupt(download, signal.SIGINT, lambda: working.exists() and some_of(working), *arguments)
    assert "Interrupted by SIGINT" in said
    assert not target.exists()
    (left,) = stand.unfinished()
    assert (left["kind"], left["name"]) == ("download", file["accession"])
    assert 0 < left["done"] < SIZE
    code, out, err = stand.run(download, *arguments, "--json", "--quiet")
    assert (code, err) == (0, "")
    (record,) = [json.loads(line) for line in out.splitlines()]
    assert record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest() == digest
    assert [path.name for path in target.parent.iterdir()] == [target.name]

    code, out, err = stand.run(download, *arguments)
    assert code == 0
    assert "there already, unchanged" in err


def some_of(working: Path) -> bool:
    """Whether a few MiB of a working copy are on the disk."""
    return working.stat().st_blocks * 512 > 4 * 1024 * 1024
