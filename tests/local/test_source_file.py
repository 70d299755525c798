"""A source that is watched while it is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from connector.errors import LocalError, UsageError
from connector.local.files import SourceChangedError, SourceFile

pytestmark = pytest.mark.usefixtures("no_open_files_left")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_it_is_read_at_any_place(path: Path) -> None:
    file = SourceFile.open(path)
    buffer = bytearray(6)
    file.read_into(2, [memoryview(buffer)[:1], memoryview(buffer)[1:]])
    assert buffer == b"234567"
    assert file.state.size == 10
    file.check_unchanged()
    file.close()


def touched(path: Path) -> None:
    os.utime(path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")
    os.utime(path, ns=(10**18, 10**18))


def shrunk(path: Path) -> None:
    os.truncate(path, 5)
    os.utime(path, ns=(10**18, 10**18))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"9876543210")
    os.utime(other, ns=(10**18, 10**18))
    other.replace(path)


@pytest.mark.parametrize("change", [touched, grown, shrunk, replaced])
def test_a_change_is_noticed(path: Path, change: Any) -> None:
    file = SourceFile.open(path)
    change(path)
    with pytest.raises(SourceChangedError, match="changed while") as caught:
        file.check_unchanged()
    assert caught.value.exit_code == 3
    assert not caught.value.advice.again
    file.close()


def test_a_file_that_vanished_is_noticed(path: Path) -> None:
    file = SourceFile.open(path)
    path.unlink()
    with pytest.raises(LocalError, match="No such file"):
        file.check_unchanged()
    file.close()


def test_a_file_that_got_shorter_is_noticed_while_it_is_read(path: Path) -> None:
    file = SourceFile.open(path)
    shrunk(path)
    with pytest.raises(SourceChangedError):
        file.read_into(2, [memoryview(bytearray(6))])
    file.close()


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    file = SourceFile.open(link)
    assert file.state.size == 10
    file.check_unchanged()
    file.close()


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="regular file"):
        SourceFile.open(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/null", "."])
def test_devices_and_folders_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="regular file"):
        SourceFile.open(Path(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing", "No such file"), ("source/below", "Not a directory"), ("x" * 300, "too long"), ("loop", "symbolic")],
)
def test_what_cannot_be_opened_is_a_local_error(path: Path, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(LocalError, match=words):
        SourceFile.open(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="a file of /proc")
def test_a_file_that_does_not_tell_its_size_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(UsageError, match="size"):
        SourceFile.open(Path("/proc/self/status"))
