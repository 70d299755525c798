"""Machines that are set up differently, under commands that move files to and from an archive, and under an archive."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import click
import httpx
import pytest

from connector.cli.console import neutralised
from tests.reliability.conftest import Scripted
from tests.reliability.test_surroundings import ESCAPE, Place, commands, limited, needs_permissions, place, powerless
from tests.support.archive_process import run_cli
from tests.support.archive_siege import Served
from tests.support.program import Done, environment
from tests.support.small_disk import make_read_only, small_disk_at

__all__ = ["place"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, users and file systems of Linux")

MIB = 1024**2


def was_told(done: Done, *codes: int) -> bool:
    """Whether a command succeeded, or ended with one of these codes and a sentence."""
    assert "Traceback" not in done.err, done.err
    assert "bug in connector" not in done.err, done.err
    return done.code == 0 or (done.code in codes and bool(done.err.strip()))


def test_a_state_folder_that_cannot_be_written(scripted: Scripted, tmp_path: Path) -> None:
    scripted.archive.add_file("GHGAF1", b"x" * 1000)
    (tmp_path / "source").write_bytes(b"y" * 1000)
    with small_disk_at(tmp_path / "mounted", "40m") as state:
        make_read_only(state)
        where = {"XDG_STATE_HOME": str(state)}
        done = scripted.download(**where)
        assert done.code == 0, done.err  # it has no need of it
        done = scripted.upload("source", **where)
        assert done.code == 3, done.err
        assert "XDG_STATE_HOME" in done.err
        assert scripted.archive.uploads == {}, "nothing was announced that could not be resumed"
        assert scripted.program.run("status", environment=where).code == 0
    assert scripted.upload("source").code == 0


@needs_permissions
def test_one_unreadable_file_among_those_to_upload(scripted: Scripted, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    (tmp_path / "b").chmod(0)
    scripted.archive.package_type = "upload"
    words = [*powerless.get("program", (sys.executable, "-m", "connector")), "upload", "a", "b", "c"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(**scripted.program.settings), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 3, done.stderr
    assert "b: Could not" in done.stderr
    assert sorted(one.alias for one in scripted.archive.uploads.values() if one.state == "inbox") == ["a", "c"]


@pytest.mark.parametrize(
    "limit", [limited(NOFILE=8), limited(NOFILE=14), limited(AS=300 * MIB), limited(AS=500 * MIB)],
    ids=["8 files", "14 files", "300 MiB", "500 MiB"],
)  # fmt: skip
def test_limits_of_the_process(scripted: Scripted, tmp_path: Path, limit: Callable[[], None]) -> None:
    scripted.archive.add_file("GHGAF1", b"x" * 300_000)
    (tmp_path / "source").write_bytes(b"y" * 1000)
    scripted.archive.package_type = "download"
    words = ("--output-dir", scripted.folder / "out", "--retries", "0")
    assert was_told(scripted.program.run("download", *words, preexec_fn=limit), 3)
    scripted.archive.package_type = "upload"
    assert was_told(scripted.program.run("upload", "source", "--retries", "0", preexec_fn=limit), 3)
    assert [path.name for path in (tmp_path / "out").glob("*") if ".part" not in path.name] in ([], ["GHGAF1.bin.c4gh"])


def test_a_server_with_too_few_descriptors_answers_when_it_has_some_again(tmp_path: Path) -> None:
    served = Served(tmp_path / "archive")
    served.start()
    assert served.process is not None
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (48, most))  # this process may have more open
    address = urlsplit(served.wkvs_url)
    clients = []
    try:
        for _ in range(60):
            clients.append(socket.create_connection((address.hostname, address.port), timeout=180))
        time.sleep(0.5)
        for client in clients:
            client.close()
        deadline = time.monotonic() + 180
        while True:
            try:
                answer = httpx.get(f"{served.wkvs_url}/values", timeout=20, trust_env=False)
                if answer.status_code == 200:
                    break
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline
        assert served.stop() == 0
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()


ODD_MOUNT = """
import errno, os, shutil

def no_sync(descriptor):
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

def unknown(path):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

os.fsync = os.fdatasync = no_sync
os.sync_file_range = no_sync
os.statvfs = os.fstatvfs = os.posix_fallocate = lambda *a: unknown(a)
shutil.disk_usage = unknown
from connector.cli import main
main()
"""
"""The program on a mount that can neither sync nor allocate nor tell its free space."""


def test_a_mount_that_cannot_sync_or_tell_its_free_space(scripted: Scripted, tmp_path: Path) -> None:
    scripted.archive.add_file("GHGAF1", b"x" * 300_000)
    (tmp_path / "source").write_bytes(b"y" * 1000)

    def run(*words: object) -> None:
        done = subprocess.run(
            [sys.executable, "-c", ODD_MOUNT, *map(str, words)],
            cwd=tmp_path, env=environment(**scripted.program.settings), capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    scripted.archive.package_type = "download"
    run("download", "--output-dir", "out")
    scripted.archive.package_type = "upload"
    run("upload", "source")
    run("encrypt", "source", "--recipient-public-key-path", "my.pub")
    run("decrypt", "source.c4gh", "--output-dir", "out")
    assert (tmp_path / "out" / "source").read_bytes() == b"y" * 1000


def test_lists_and_keys_that_can_be_read_only_once(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"y" * 1000)
    scripted.archive.package_type = "upload"
    script = (
        '"$0" -m connector upload --tsv <(printf "source\\talias\\n") --my-private-key-path <(cat my.sec) && '
        '"$0" -m connector archive grant upload --root arch --public-key <(cat my.pub)'
    )
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=tmp_path, env=environment(**scripted.program.settings), capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [upload.alias for upload in scripted.archive.uploads.values()] == ["alias"]


def test_an_archive_toml_as_editors_of_windows_write_it(place: Place) -> None:
    config = place.folder / "archive.toml"
    config.write_text(
        '[documents]\nprovider = "sqlite"\npath = "a.sqlite"\n'
        '[[hubs]]\nalias = "HD01"\nstorage = {provider = "filesystem", path = "objects"}\n',
        encoding="utf-8-sig",
    )
    code, _, said = place.run("archive", "grant", "upload", "--config", config, "--public-key", "my.pub")
    assert code == 0, said
    code, _, said = place.run("archive", "files", "--config", place.folder)
    assert code == 2, said


def test_a_huge_file_given_as_a_secret_of_an_archive(place: Place) -> None:
    code, _, said = place.run("archive", "grant", "upload", "--root", "arch", "--public-key", "my.pub")
    assert code == 0, said
    key = next((place.folder / "arch" / "keys").glob("master-*.key"))
    os.truncate(key, 10 * 1024**3)
    code, _, said = place.run("archive", "files", "--root", "arch", preexec_fn=limited(AS=1024 * MIB))
    assert code == 2, said
    assert key.name in said


def test_variables_of_an_archive_that_something_else_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    tried = 0
    for path, command in commands():
        if path[0] != "archive" or path[1] in ("serve", "work"):
            continue
        for parameter in command.params:
            if not isinstance(parameter, click.Option) or not isinstance(parameter.envvar, str):
                continue
            tried += 1
            with monkeypatch.context() as patch:
                patch.setenv(parameter.envvar, f"junk{ESCAPE}")
                done = run_cli(*path)
            said = done.stdout + done.stderr
            assert done.returncode in (2, 3), (path, parameter.envvar, said)
            assert said == "\n".join(map(neutralised, said.split("\n")))
    assert tried > 20
