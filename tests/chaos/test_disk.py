"""What the local disk does: full, read-only, forbidden, in the way, oddly named, gone, shared by two."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from connector.local.lock_file import LockFile
from connector.local.targets import lock_path, working_paths
from tests.support.chaos_stage import MIB, Stage
from tests.support.faults import Faults
from tests.support.program import finish
from tests.support.served_fake import User, saying
from tests.support.small_disk import small_disk_at

TARGET = "GHGAF01.bin.c4gh"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "4m") as place:
        yield place


def test_a_file_that_does_not_fit_is_not_begun(user: User, small_disk: Path) -> None:
    user.archive.add_file("GHGAF01", bytes(5 * MIB))
    said = user.download("--output-dir", small_disk)
    assert said.code == 3
    assert "missing" in said.err
    assert os.listdir(small_disk) == []
    assert user.archive.counts["get"] == 0


def test_a_disk_that_fills_up_on_the_way_keeps_what_there_is(user: User, small_disk: Path) -> None:
    """Somebody else writes to the disk at the same time: first it fits, then it does not."""
    user.archive.add_file("GHGAF01", os.urandom(3 * MIB))
    greedy = small_disk / "greedy"
    parts = []

    async def fill(stream: trio.SocketStream, request: httpx.Request) -> None:
        parts.append(request)
        if len(parts) == 5:
            with greedy.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(64 * 1024))
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017
        # No answer: the line is cut, and the part asked for again.

    user.server.play("get", fill, times=5)
    out = small_disk / "out"
    said = user.download("--output-dir", out, CONNECTOR_RETRIES="8")
    assert said.code == 3, said.err
    assert "disk is full" in said.err
    assert "more bytes, and" in said.err
    assert "missing" in said.err
    assert not (out / TARGET).exists()
    greedy.unlink()
    said = user.download("--output-dir", out)
    assert said.code == 0, said.err
    assert os.listdir(out) == [TARGET]


def test_a_full_disk_for_two_files_that_each_fit(user: User, small_disk: Path) -> None:
    for number in (1, 2):
        user.archive.add_file(f"GHGAF0{number}", os.urandom(int(2.5 * MIB)))
    out = small_disk / "out"
    said = user.download("--output-dir", out)
    assert said.code == 3, said.err
    assert "are missing" in said.err
    whole = [name for name in os.listdir(out) if name.endswith(".c4gh")]
    for name in whole:
        assert (out / name).stat().st_size > 2.5 * MIB


def test_a_limit_on_the_size_of_files(user: User, data: bytes, tmp_path: Path) -> None:
    """As `ulimit -f` sets it."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * user.PART, before[1]))
    try:
        said = user.download()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.code == 3, said.err
    assert "File too large" in said.err
    assert "ulimit -f" in said.err
    said = user.download()
    assert said.code == 0, said.err
    assert user.is_whole()


def test_a_read_only_file_system(user: User, data: bytes, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    said = user.download("--output-dir", small_disk)
    assert said.code == 3
    assert "read-only" in said.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(user: User, data: bytes, tmp_path: Path) -> None:
    user.out.mkdir(mode=0o500)
    said = user.download()
    assert said.code == 3
    assert "Check the permissions" in said.err


def test_a_source_that_may_not_be_read(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sample.bin"
    path.write_bytes(b"x")
    real = os.open

    def forbid(name: str, *arguments: Any, **options: Any) -> Any:
        if os.fspath(name) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", forbid)
    said = user.upload(path)
    assert said.code == 3
    assert f"{path}: Permission denied" in said.err


def test_a_file_in_the_way_is_not_fetched_again(user: User, data: bytes) -> None:
    user.out.mkdir()
    (user.out / TARGET).write_bytes(b"mine")
    said = user.download()
    assert said.code == 3
    assert "another size" in said.err
    assert (user.out / TARGET).read_bytes() == b"mine"
    assert user.archive.counts["get"] == 0
    said = user.download("--overwrite")
    assert said.code == 0, said.err
    assert user.is_whole()


def test_a_file_that_appears_while_ours_is_fetched_is_not_overwritten(user: User, data: bytes) -> None:
    async def appear(stream: trio.SocketStream, request: httpx.Request) -> None:
        (user.out / TARGET).write_bytes(b"mine")

    user.server.play("get", appear)
    said = user.download()
    assert said.code == 3, said.err
    assert (user.out / TARGET).read_bytes() == b"mine"


def test_a_folder_in_the_way(user: User, data: bytes) -> None:
    (user.out / TARGET).mkdir(parents=True)
    said = user.download("--overwrite")
    assert said.code == 3
    assert "is a folder" in said.err


@pytest.mark.parametrize("which", ["target", "working copy"])
def test_a_link_leads_nowhere(user: User, data: bytes, tmp_path: Path, which: str) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep me")
    user.out.mkdir()
    target = user.out / TARGET
    (target if which == "target" else working_paths(target)[0]).symlink_to(precious)
    said = user.download("--overwrite")
    assert precious.read_bytes() == b"keep me"
    if which == "target":
        assert said.code == 0, said.err
        assert not target.is_symlink()
        assert user.is_whole()
    else:
        assert said.code == 3
        assert "symbolic link" in said.err


def test_a_folder_that_vanishes_on_the_way(user: User, data: bytes) -> None:
    async def vanish(stream: trio.SocketStream, request: httpx.Request) -> None:
        for name in os.listdir(user.out):
            os.unlink(user.out / name)
        user.out.rmdir()

    user.server.play("get", vanish)
    said = user.download()
    assert said.code == 3, said.err
    assert "bug" not in said.err


@pytest.mark.parametrize("change", ["gone", "longer", "shorter", "touched", "another"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_source_that_does_not_stay_the_same(user: User, tmp_path: Path, change: str, parts: int) -> None:
    """Of several parts none is completed; one part was read as a whole before, and is that."""
    path = tmp_path / "sample.bin"
    content = os.urandom(parts * 16 * 1024**2 - 5 * 1024**2)
    path.write_bytes(content)

    async def meddle(stream: trio.SocketStream, request: httpx.Request) -> None:
        if change == "gone":
            path.unlink()
        elif change == "longer":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "shorter":
            os.truncate(path, 10)
        elif change == "touched":
            os.utime(path, ns=(1, 1))
        else:
            other = tmp_path / "other"
            other.write_bytes(os.urandom(len(content)))
            os.replace(other, path)
        await user.server.answer(stream, request)

    user.server.play("put", meddle)
    said = user.upload(path, "--part-size", "16MiB")
    if parts == 1:
        assert said.code == 0, said.err
        assert user.archive.opened("sample.bin") == content
        return
    assert said.code == 3, said.err
    assert "changed while" in said.err or "Could not read" in said.err
    assert "bug" not in said.err
    assert all(upload.state in ("init", "cancelled") for upload in user.archive.uploads.values())


@pytest.mark.parametrize(
    "name", ["a" * 250, "ä" * 120, "line\nbreak", "tab\tand \x1b[31mred", "-rf", " ", "'\"$(x)`", "..x"]
)
def test_odd_and_long_names_of_sources(user: User, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"content")
    said = user.upload("--", path)
    assert "bug" not in said.err
    assert "\x1b" not in said.err
    if "\n" in name or "\t" in name or not name.strip():
        assert said.code == 2
        assert "alias" in said.err
    else:
        assert said.code == 0, said.err
        assert user.archive.opened(name) == b"content"


def test_a_name_that_is_no_text(user: User, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.bin"))
    path.write_bytes(b"content")
    said = user.upload(path)
    assert said.code == 2, said.err
    assert "alias" in said.err
    said = user.upload(path, "--alias", "plain")
    assert said.code == 0, said.err


def test_a_path_that_is_too_long(user: User, tmp_path: Path) -> None:
    said = user.upload(tmp_path / ("x" * 4000), "--alias", "alias")
    assert said.code == 3
    assert "too long" in said.err


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing", "device"])
def test_sources_that_are_no_files(user: User, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    else:
        path = Path("/dev/zero")
    said = user.upload(path, "--alias", "alias")
    assert said.code in (2, 3), said.err


def test_a_link_to_a_source_is_followed(user: User, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert user.upload(tmp_path / "link").code == 0
    assert user.archive.opened("link") == b"content"


def test_two_on_one_target(user: User, data: bytes) -> None:
    user.out.mkdir()
    claim = LockFile.take(lock_path(user.out / TARGET))  # the command runs in this process
    said = user.download()
    assert said.code == 3
    assert "this process" in said.err
    assert "kill" not in said.err
    claim.release()
    assert user.download().code == 0


def test_two_processes_on_one_target(stage: Stage) -> None:
    published = stage.publish("two.bin", 11 * MIB)
    token = stage.grant_download(published.accession)
    stage.proxy.faults = Faults(bytes_per_second=4e6)
    command = ("download", "--output-dir", stage.folder / "two", "--part-size", "5MiB", "--max-concurrency", 2)
    first = stage.start(*command, token=token)
    lock = stage.folder / "two" / f"{published.accession}.bin.c4gh.part.lock"
    deadline = time.monotonic() + 180
    while not lock.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # however long the second takes to start, the first is in the middle of it
    second = stage.run(*command, token=token)
    first.send_signal(signal.SIGCONT)
    assert second.code == 3, second.err
    assert "Another process" in second.err
    assert f"kill {first.pid}" in second.err
    done = finish(first)
    assert done.code == 0, done.err
    assert [path.name for path in (stage.folder / "two").iterdir()] == [f"{published.accession}.bin.c4gh"]


def test_two_processes_on_one_upload(user: User, tmp_path: Path) -> None:
    path = tmp_path / "sample.bin"
    path.write_bytes(os.urandom(3 * user.PLAIN))
    codes = []

    async def second(stream: trio.SocketStream, request: httpx.Request) -> None:
        """While the first is sending: a thread of ours is to the claim as good as another process."""
        thread = threading.Thread(target=lambda: codes.append(user.upload(path)))
        thread.start()
        while thread.is_alive():
            import trio

            await trio.sleep(0.01)

    user.server.play("put", second)
    said = user.upload(path)
    assert said.code == 0, said.err
    (other,) = codes
    assert other.code == 3
    assert "this process" in other.err


def test_journals_are_for_their_owner_alone(user: User, data: bytes, tmp_path: Path) -> None:
    user.archive.fail("get", 404, times=100, when=lambda request: "bytes=0-" not in request.headers["range"])
    assert user.download().code == 4
    journal = working_paths(user.out / TARGET)[1]
    assert journal.stat().st_mode & 0o777 == 0o600
    path = tmp_path / "sample.bin"
    path.write_bytes(os.urandom(11 * MIB))
    user.server.play("put", saying(400), times=100)
    assert user.upload(path).code == 4
    (folder,) = (tmp_path / "state").rglob("uploads")
    assert folder.stat().st_mode & 0o777 == 0o700
    (journal,) = folder.iterdir()
    assert journal.stat().st_mode & 0o777 == 0o600
    assert user.archive.user.private.hex() not in journal.read_text()
