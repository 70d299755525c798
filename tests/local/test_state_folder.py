"""Notes of output folders: kept as long as something may be unfinished there, and never in the way."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from connector.errors import LocalError
from connector.local.disk import files_named
from connector.local.journal import encode_record
from connector.local.state_folder import state_failures
from connector.local.targets import OutputFolders


@pytest.fixture
def folders(tmp_path: Path) -> OutputFolders:
    return OutputFolders(tmp_path / "state" / "outputs")


def raised(error: LocalError) -> None:
    raise error


def paths(folders: OutputFolders) -> list[Path]:
    return [noted.path for noted in folders.find_all(raised)]


def test_a_folder_is_noted_once_and_until_nothing_is_unfinished(folders: OutputFolders, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    for folder in (out, other, out):
        folders.add(folder)
    assert paths(folders) == [other, out]
    (out / "a.part.journal").touch()
    for folder in (out, other):
        folders.forget_if_finished(folder)
    assert paths(folders) == [out]
    (out / "a.part.journal").unlink()
    folders.forget_if_finished(out)
    assert paths(folders) == []
    assert list(folders.folder.iterdir()) == []


def test_folders_that_are_gone_are_forgotten(folders: OutputFolders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    folders.add(out)
    out.rmdir()
    assert paths(folders) == []
    assert list(folders.folder.iterdir()) == []


def test_folders_of_another_machine_are_kept_though_they_are_not_here(folders: OutputFolders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    folders.add(out)
    for name, folder in (("scratch", "/scratch/of/node7"), ("shared", str(out))):
        record = encode_record({"folder": folder, "host": "node7"})
        (folders.folder / f"{name}.output").write_bytes(record)
    noted = folders.find_all(raised)
    assert [(one.path, one.host, one.is_gone) for one in noted] == [
        (Path("/scratch/of/node7"), "node7", True),
        (out, socket.gethostname(), False),
    ]
    assert len(list(folders.folder.iterdir())) == 3


def test_what_cannot_be_read_is_told_and_not_forgotten(folders: OutputFolders, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    folders.add(loop / "out")
    assert paths(folders) == [loop / "out"]
    errors: list[LocalError] = []
    assert OutputFolders(loop).find_all(errors.append) == []
    assert str(loop) in errors[0].message
    with pytest.raises(LocalError):
        files_named(loop, "")
    assert files_named(tmp_path / "none", "") == []
    assert files_named(tmp_path, "op") == [loop]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0000000000000000 {}\n", encode_record({"folder": 5})])
def test_damaged_notes_are_none(folders: OutputFolders, content: bytes) -> None:
    folders.folder.mkdir(parents=True)
    (folders.folder / "x.output").write_bytes(content)
    assert paths(folders) == []


def test_a_state_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    folders = OutputFolders(tmp_path / "state" / "outputs")
    folders.add(tmp_path)
    folders.forget_if_finished(tmp_path)
    assert paths(folders) == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of file sizes")
def test_a_quota_that_is_used_up_leaves_no_half_made_notes(folders: OutputFolders, tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # entries can be made, their content cannot
    try:
        folders.add(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folders.folder.iterdir()) == []


@pytest.mark.parametrize(("platform", "variable"), [("linux", "XDG_STATE_HOME"), ("win32", "LOCALAPPDATA")])
def test_the_variable_that_moves_it_is_named(platform: str, variable: str) -> None:
    with pytest.raises(LocalError) as caught, state_failures(platform=platform):
        raise LocalError("The disk is full.") from OSError()
    assert variable in caught.value.hint
    with pytest.raises(LocalError) as caught, state_failures(platform=platform):
        raise LocalError("Another process has it.")
    assert not caught.value.hint
