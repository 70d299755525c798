"""An archive whose disks are full: each call says so, and all goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.archive_user import ArchiveUser, served_below
from tests.support.chaos_stage import MIB
from tests.support.contract_client import ContractClient
from tests.support.program import Done, Program, command, environment, kill_at_end
from tests.support.small_disk import fill, make_read_only, small_disk_at


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "40m") as place:
        yield place


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
        done = archive.program.run("upload", source)  # it cannot even be announced
        assert done.code == 5, done.err
        assert "no room" in done.err
        greedy.write_bytes(bytes(32 * MIB))  # nor is there room for a part
        done = archive.program.run("upload", source)
        assert done.code == 4, done.err
        assert "no room" in done.err
        greedy.unlink()
        done = archive.program.run("upload", source)
        assert done.code == 0, done.err
        (item,) = archive.client.list_uploads().json()["items"]
        assert archive.state(item["id"]) == "archived"
        assert archive.faults() == []


@contextmanager
def divided(folder: Path, small: str) -> Iterator[tuple[Path, Path]]:
    """The place for an archive, and the small disk that has all of it, or only its database, or only its objects."""
    (folder / "large").mkdir()
    if small == "objects":
        place = folder / "large" / "archive"
        place.mkdir()
        with small_disk_at(place / "objects", "40m") as disk:
            yield folder / "large", disk
        return
    with small_disk_at(folder / "small", "40m") as disk:
        if small == "documents":
            (disk / "archive").mkdir()
            (folder / "large" / "objects").mkdir()
            (disk / "archive" / "objects").symlink_to(folder / "large" / "objects")
        yield disk, disk


@contextmanager
def working(archive: ArchiveUser) -> Iterator[None]:
    """A worker of the archive as a process of its own, for the length of the block."""
    process = subprocess.Popen(
        command("archive", "work", "--root", archive.served.root),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield
    finally:
        kill_at_end([process])
        assert process.stdout is not None
        process.stdout.close()


def is_told(answer: httpx.Response) -> bool:
    """Whether a call went well, or says that there is no room."""
    if answer.status_code == 507:
        return "<Code>InsufficientStorage</Code>" in answer.text
    if answer.status_code == 503:
        return bool(answer.headers["retry-after"]) and "no room" in answer.text
    return answer.is_success


def went_well(done: Done, *codes: int) -> bool:
    """Whether a command succeeded, or ended with one of these codes and a sentence about the room."""
    assert "Traceback" not in done.err
    return done.code == 0 or (done.code in codes and ("no room" in done.err or "no space" in done.err.lower()))


@pytest.mark.parametrize(
    "small", ["all", *(pytest.param(small, marks=pytest.mark.soak) for small in ("documents", "objects"))]
)
def test_every_step_on_a_full_disk(tmp_path: Path, small: str) -> None:
    with divided(tmp_path, small) as (place, disk), served_below(place, tmp_path, "--no-worker") as archive:
        client, steward = archive.client, Program(tmp_path, {"HOME": str(tmp_path)})
        root = ("--root", archive.served.root)
        file = client.seal(os.urandom(MIB))
        ids = {name: client.upload(name, file) for name in ("staged", "unstaged")}
        with working(archive):
            for file_id in ids.values():
                assert archive.state(file_id) == "archived"
            rows = {row["alias"]: row["accession"] for row in archive.run_admin("files")}
            granted = steward.run("archive", "grant", "download", "--all", "--public-key", "user.pub", *root)
            http = client.http
            down = ContractClient(archive.served.wkvs_url, granted.out.split()[-1], client.private_key, http)
            wait_until_staged(down, rows["staged"])
        received, received_file = archive.begin("received", MIB)
        assert client.close(received, received_file.claim()).status_code == 204
        sent, sent_file = archive.begin("sent", MIB)
        being_sent = client.create("being sent", file).json()["file_id"]
        url = client.part_url(being_sent, 1).json()

        greedy = fill(disk)
        assert is_told(http.put(url, content=file.parts[0]))
        assert is_told(client.close(sent, sent_file.claim()))
        assert is_told(client.package())
        order = client.upload_order("create", alias="another")
        assert is_told(order)
        bearer = bearer_of(client, order)
        assert is_told(http.post(client.uploads_url, headers=bearer, json=file.announcement("another")))
        # Nothing has to be written for what is there.
        staged = down.drs_object(rows["staged"])
        assert staged.status_code == 200
        whole = http.get(staged.json()["access_methods"][0]["access_url"]["url"])
        assert len(whole.content) == staged.json()["size"]
        assert is_told(down.drs_object(rows["unstaged"]))
        assert steward.run("archive", "files", *root).code == 0
        (tmp_path / "source").write_bytes(os.urandom(MIB))
        assert went_well(archive.program.run("upload", "source", environment={"CONNECTOR_RETRIES": "0"}), 4, 5)
        for words in (("grant", "upload", "--public-key", "user.pub"), ("lock", archive.run_admin("boxes")[0]["box"])):
            assert went_well(steward.run("archive", *words, *root), 3), words
        with working(archive):  # whose jobs fail, and are tried again
            time.sleep(2)
            greedy.unlink()
            steward.run("archive", "unlock", archive.run_admin("boxes")[0]["box"], *root)
            assert http.put(url, content=file.parts[0]).status_code == 200
            assert client.close(being_sent, file.claim()).status_code == 204
            assert client.close(sent, sent_file.claim()).status_code == 204
            done = archive.program.run("upload", "source", "--wait")
            assert done.code == 0, done.err
            for file_id in (received, being_sent, sent):
                assert archive.state(file_id) == "archived"
            wait_until_staged(down, rows["unstaged"])
            checked = steward.run("archive", "check", *root)
            assert checked.code == 0, checked.out
        assert archive.faults() == []


def wait_until_staged(client: ContractClient, accession: str) -> None:
    deadline = time.monotonic() + 180
    while client.drs_object(accession).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def bearer_of(client: ContractClient, order: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.unlock(order.json())}"} if order.is_success else {}


def test_a_disk_that_cannot_be_written(small_disk: Path, tmp_path: Path) -> None:
    """As disks become after a failure."""
    with served_below(small_disk, tmp_path) as archive:
        file_id, _ = archive.begin()
        assert archive.client.delete(file_id).status_code == 204
        assert archive.served.stop() == 0
        make_read_only(small_disk)
        steward = Program(tmp_path, {"HOME": str(tmp_path)})
        for words in (("serve", "--port", "0"), ("work",), ("grant", "upload", "--public-key", "user.pub"), ("check",)):
            done = steward.run("archive", *words, "--root", archive.served.root, timeout=180)
            assert done.code == 3, (words, done.err)
            assert "Traceback" not in done.err
            assert str(archive.served.root) in done.err, done.err
