"""The embedded archive loses nothing and leaves nothing where a step is cut short, and when its disk is full.

Kills at random moments: ``tests/chaos/test_archive_siege.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support.archive_checker import check
from tests.support.archive_siege import Served
from tests.support.chaos_stage import MIB
from tests.support.contract_client import ContractClient, SealedFile
from tests.support.program import Done, Program, command, environment, kill_at_end
from tests.support.small_disk import small_disk_at


@attrs.frozen
class Archive:
    """A served archive, and a user of it who has a box: with the command line, and with another client."""

    served: Served
    keys: KeyPair
    client: ContractClient
    program: Program

    def run_admin(self, *arguments: str) -> Any:
        """The JSON that an administration command prints, run beside the server."""
        line = command("archive", *arguments, "--root", self.served.root, "--json")
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def state(self, file_id: str) -> str:
        """The state of an upload once it rests."""
        deadline = time.monotonic() + 15
        while True:
            items = self.client.list_uploads(limit=100).json()["items"]
            state = str(next(item["state"] for item in items if item["id"] == file_id))
            if state not in ("inbox", "interrogated", "awaiting_archival") or time.monotonic() > deadline:
                return state
            time.sleep(0.5)  # in whose lulls files are interrogated

    def begin(self, alias: str = "file", size: int = 6 * MIB) -> tuple[str, SealedFile]:
        """An upload whose parts are all there."""
        file = self.client.seal(os.urandom(size))
        file_id = self.client.create(alias, file).json()["file_id"]
        self.client.put_parts(file_id, file.parts)
        return file_id, file

    def faults(self) -> list[str]:
        """What the checker finds, once it finds nothing or after ten seconds."""
        deadline = time.monotonic() + 10
        while (found := check(self.served.root).faults) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def served_below(place: Path, folder: Path, *options: str) -> Iterator[Archive]:
    keys = write_key_pair(folder / "user.sec", folder / "user.pub", passphrase=None)
    served = Served(place / "archive", options=options)
    served.start()
    try:
        token = served.grant_upload(folder / "user.pub")
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": served.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "user.sec"),
            "CONNECTOR_ACCESS_TOKEN": token,
            "CONNECTOR_PART_SIZE": "5MiB",
            "CONNECTOR_RETRIES": "1",
        }
        with httpx.Client(timeout=20, trust_env=False) as http:
            yield Archive(
                served, keys, ContractClient(served.wkvs_url, token, keys.private, http), Program(folder, settings)
            )
    finally:
        if served.process is not None:
            kill_at_end([served.process])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with served_below(tmp_path, tmp_path) as archive:
        yield archive


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "40m") as place:
        yield place


def fill(place: Path) -> Path:
    """Use up the disk to the last block."""
    greedy = place / "greedy"
    for size in (MIB, 4096, 1):
        with greedy.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(size))
    return greedy


def test_a_close_that_was_killed_between_its_steps_is_taken_up_by_the_next(archive: Archive) -> None:
    file_id, file = archive.begin()
    archive.served.kill()
    (folder,) = archive.served.root.glob("objects/buckets/inbox/uploads/*")
    folder.rename(f"{folder}.closing")  # what a kill leaves between closing the door and writing the record
    archive.served.start()
    answer = archive.client.close(file_id, file.claim())
    assert answer.status_code == 204, answer.text
    assert archive.state(file_id) == "archived"
    assert archive.faults() == []


def test_deleting_frees_what_a_killed_close_left(archive: Archive) -> None:
    file_id, _ = archive.begin()
    (folder,) = archive.served.root.glob("objects/buckets/inbox/uploads/*")
    folder.rename(f"{folder}.closing")
    assert archive.client.delete(file_id).status_code == 204
    assert archive.faults() == []


def test_a_disk_that_is_full_while_closing(small_disk: Path, tmp_path: Path) -> None:
    with served_below(small_disk, tmp_path) as archive:
        file_id, file = archive.begin()
        greedy = fill(small_disk)
        refused = archive.client.close(file_id, file.claim())
        assert refused.status_code == 503, refused.text
        assert refused.headers["retry-after"]
        assert "no room" in refused.json()["description"]
        assert str(small_disk) not in refused.text
        greedy.unlink()
        assert archive.client.close(file_id, file.claim()).status_code == 204
        assert archive.state(file_id) == "archived"
        assert archive.faults() == []


def test_a_disk_that_fills_up_under_an_upload(small_disk: Path, tmp_path: Path) -> None:
    with served_below(small_disk, tmp_path) as archive:
        source = tmp_path / "source.bin"
        source.write_bytes(os.urandom(11 * MIB))
        greedy = fill(small_disk)
        done = archive.program.run("upload", source, "--retries", 0)  # it cannot even be announced
        assert done.code == 5, done.err
        assert "no room" in done.err
        greedy.write_bytes(bytes(32 * MIB))  # nor is there room for a part
        done = archive.program.run("upload", source, "--retries", 0)
        assert done.code == 4, done.err
        assert "no room" in done.err
        greedy.unlink()
        done = archive.program.run("upload", source)
        assert done.code == 0, done.err
        (item,) = archive.client.list_uploads().json()["items"]
        assert archive.state(item["id"]) == "archived"
        assert archive.faults() == []


def test_an_upload_that_the_storage_lost_is_told_with_its_part_url(archive: Archive) -> None:
    file = archive.client.seal(b"content")
    file_id = archive.client.create("file", file).json()["file_id"]
    (folder,) = archive.served.root.glob("objects/buckets/inbox/uploads/*")
    shutil.rmtree(folder)
    lost = archive.client.part_url(file_id, 1)
    assert lost.status_code == 404, lost.text
    assert lost.json()["exception_id"] == "s3UploadNotFound"
    assert archive.client.delete(file_id).status_code == 204
    assert archive.client.upload("file", file) != file_id
    assert archive.faults() == []


def test_administration_beside_a_server_that_cleans_up(archive: Archive, tmp_path: Path) -> None:
    """Other processes open the same directory while the server removes what an earlier one left."""
    file_id, file = archive.begin()
    archive.served.kill()
    for bucket in ("inbox", "permanent", "download"):
        for number in range(256):
            folder = archive.served.root / "objects" / "buckets" / bucket / "data" / f"{number:02x}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number:02x}{'0' * 30}").write_bytes(bytes(1000))
    archive.served.start()
    tokens = [archive.served.grant_upload(tmp_path / "user.pub") for _ in range(3)]
    assert archive.client.close(file_id, file.claim()).status_code == 204
    assert archive.state(file_id) == "archived"
    assert archive.faults() == []
    assert len(archive.run_admin("boxes")) == 1 + len(tokens)
    (row,) = archive.run_admin("files")
    assert row["file_id"] == file_id


def test_a_failed_upload_shows_its_reason(archive: Archive) -> None:
    file_id, file = archive.begin()
    assert archive.client.close(file_id, file.claim(decrypted_sha256="1" * 64)).status_code == 204
    assert archive.state(file_id) == "failed"
    (row,) = archive.run_admin("files", "--uploads")
    assert "sha256" in row["failure_reason"]
    line = command("archive", "files", "--uploads", "--root", archive.served.root)
    shown = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True).stdout
    assert row["failure_reason"] in shown


@pytest.mark.parametrize("running", [True, False])
def test_a_steward_archives_a_box(tmp_path: Path, running: bool) -> None:
    archive: Archive

    def steward(*arguments: str) -> Done:
        return archive.program.run("archive", *arguments, "--root", archive.served.root)

    def states() -> dict[str, str]:
        rows = map(json.loads, archive.program.run("ls", "--json").out.splitlines())
        return {row["name"]: row["state"] for row in rows if row["state"] != "cancelled"}

    names = ("a.bin", "b.bin", "c.bin")
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(3000))
    with served_below(tmp_path, tmp_path, "--manual-archival") as archive:
        uploaded = archive.program.run("upload", *names, "--wait")
        assert uploaded.code == 0, uploaded.err
        assert states() == dict.fromkeys(names, "interrogated")
        assert archive.program.run("rm", "--yes", "c.bin").code == 0
        box = archive.run_admin("boxes")[0]["box"]
        refused = steward("archive-box", box)
        assert (refused.code, "lock" in refused.err) == (2, True)
        assert steward("lock", box).code == 0
        assert archive.program.run("rm", "--yes", "b.bin").code == 4
        assert states() == dict.fromkeys(names[:2], "interrogated")
        if not running:
            archive.served.kill()
        done = steward("archive-box", box)
        assert (done.code, "is archived" in done.err) == (0, True)
        if not running:
            archive.served.start()
        deadline = time.monotonic() + 15
        while archive.client.list_uploads().text.count('"state":"archived"') < 2:
            assert time.monotonic() < deadline, states()
            time.sleep(0.1)
        assert states() == dict.fromkeys(names[:2], "archived")
        assert {file["alias"] for file in archive.run_admin("files")} == {"a.bin", "b.bin"}
        assert archive.run_admin("boxes")[0]["state"] == "archived"
        assert archive.program.run("rm", "--yes", "b.bin").code == 4
        assert steward("unlock", box).code == 2
        assert archive.faults() == []
