"""Pipes, devices, folders and damaged files under the names of our own: none is waited for, none takes all memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.download.unfinished import unfinished_downloads
from connector.errors import LocalError
from connector.local.journal import load
from connector.local.lock_file import LockFile
from connector.local.lock_owner import LockOwner
from connector.local.partial_file import PartialFile
from connector.local.state_folder import FinishedFile, FinishedFiles
from connector.local.targets import OutputFolders, lock_path, working_paths
from connector.transfer import NotReadyError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes and devices of Linux")


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


odd = pytest.mark.parametrize("make", [os.mkfifo, link_to_zeros, os.mkdir], ids=["pipe", "device", "folder"])
Make = Callable[[Path], None]


@odd
def test_a_lock_file(tmp_path: Path, make: Make) -> None:
    """It is taken over like any other that nobody refreshes, or reported."""
    make(tmp_path / "f.lock")
    if make is link_to_zeros:
        LockFile.take(tmp_path / "f.lock").release()
        assert os.listdir(tmp_path) == []
        return
    with pytest.raises((LocalError, NotReadyError)):
        LockFile.take(tmp_path / "f.lock")


@odd
def test_a_journal(tmp_path: Path, make: Make) -> None:
    target = tmp_path / "f"
    path, journal = working_paths(target)
    path.write_bytes(b"x")
    make(journal)
    if make is os.mkdir:
        with pytest.raises(LocalError, match="folder"):
            PartialFile.open(target, size=4, kind="download", facts={"size": 4})
        return
    partial = PartialFile.open(target, size=4, kind="download", facts={"size": 4})
    assert not partial.done
    partial.close()
    assert load(journal) is not None
    assert not lock_path(target).exists()


def test_one_journal_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    partial = PartialFile.open(tmp_path / "m", size=4, kind="download", facts={"accession": "M", "size": 4})
    partial.close()
    os.mkdir(tmp_path / "a.part.journal")
    os.mkfifo(tmp_path / "z.part.journal")
    errors: list[LocalError] = []
    assert [found.accession for found in unfinished_downloads(tmp_path, errors.append)] == ["M"]
    assert len(errors) == 1
    with pytest.raises(LocalError):
        unfinished_downloads(tmp_path)


@odd
def test_records(tmp_path: Path, make: Make) -> None:
    """None of what is wrong with them costs a transfer."""
    folder = tmp_path / "finished"
    FinishedFiles.read(folder, "x").add(FinishedFile(1, 2, None, "o"), "key")
    (name,) = folder.iterdir()
    name.unlink()
    make(name)
    records = FinishedFiles.read(folder, "x")
    assert records.find("key") is None
    records.add(FinishedFile(1, 2, None, "o"), "key")
    make(tmp_path / "x.output")
    errors: list[LocalError] = []
    assert OutputFolders(tmp_path).find_all(errors.append) == []
    assert len(errors) == (make is os.mkdir), "a folder cannot be read at all"


@pytest.mark.parametrize("pid", [2**70, -1, 0, 2**31 - 1])
def test_a_lock_file_that_names_no_process(tmp_path: Path, pid: int) -> None:
    owner = json.loads(LockOwner.this_process().encode())
    (tmp_path / "f.lock").write_text(json.dumps(owner | {"pid": pid}))
    LockFile.take(tmp_path / "f.lock").release()


@pytest.mark.parametrize("content", [b'{"host": "h", "pid": 1e999}', b"[" * 60_000, b"\xff", b"3", b'{"pid": null}'])
def test_a_lock_file_with_anything_in_it(content: bytes) -> None:
    assert LockOwner.read(content) is None
