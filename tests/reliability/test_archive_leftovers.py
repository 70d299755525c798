"""The embedded archive loses nothing and leaves nothing where a step is cut short.

Kills at random moments: ``tests/chaos/test_archive_siege.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_process import run_cli
from tests.support.archive_user import ArchiveUser, served_below
from tests.support.program import command, environment


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[ArchiveUser]:
    with served_below(tmp_path, tmp_path) as archive:
        yield archive


def test_a_close_that_was_killed_between_its_steps_is_taken_up_by_the_next(archive: ArchiveUser) -> None:
    file_id, file = archive.begin()
    archive.served.kill()
    (folder,) = archive.served.root.glob("objects/buckets/inbox/uploads/*")
    folder.rename(f"{folder}.closing")  # what a kill leaves between closing the door and writing the record
    archive.served.start()
    answer = archive.client.close(file_id, file.claim())
    assert answer.status_code == 204, answer.text
    assert archive.state(file_id) == "archived"
    assert archive.faults() == []


def test_deleting_frees_what_a_killed_close_left(archive: ArchiveUser) -> None:
    file_id, _ = archive.begin()
    (folder,) = archive.served.root.glob("objects/buckets/inbox/uploads/*")
    folder.rename(f"{folder}.closing")
    assert archive.client.delete(file_id).status_code == 204
    assert archive.faults() == []


def test_an_upload_that_the_storage_lost_is_told_with_its_part_url(archive: ArchiveUser) -> None:
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


def test_administration_beside_a_server_that_cleans_up(archive: ArchiveUser, tmp_path: Path) -> None:
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


def test_a_failed_upload_shows_its_reason(archive: ArchiveUser) -> None:
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
    archive: ArchiveUser

    def steward(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli("archive", *arguments, "--root", str(archive.served.root))

    def states() -> dict[str, str]:
        rows = archive.client.list_uploads().json()["items"]
        return {row["alias"]: row["state"] for row in rows if row["state"] != "cancelled"}

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
        assert (refused.returncode, "lock" in refused.stderr) == (2, True)
        assert steward("lock", box).returncode == 0
        assert archive.program.run("rm", "--yes", "b.bin").code == 4
        assert states() == dict.fromkeys(names[:2], "interrogated")
        if not running:
            archive.served.kill()
        done = steward("archive-box", box)
        assert (done.returncode, "is archived" in done.stderr) == (0, True)
        if not running:
            archive.served.start()
        deadline = time.monotonic() + 180
        while states() != dict.fromkeys(names[:2], "archived"):
            assert time.monotonic() < deadline, states()
            time.sleep(0.1)
        assert {file["alias"] for file in archive.run_admin("files")} == {"a.bin", "b.bin"}
        assert archive.run_admin("boxes")[0]["state"] == "archived"
        assert archive.program.run("rm", "--yes", "b.bin").code == 4
        assert steward("unlock", box).returncode == 2
        assert archive.faults() == []
