"""Parts that were written and not yet synced: a killed process keeps them, a machine that went down does not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from connector.errors import LocalError
from connector.local.journal import JournalFile, load
from connector.local.partial_file import PartialFile
from connector.local.targets import working_paths

FACTS = {"accession": "A", "size": 30, "part_size": 10}


def opened(target: Path, boot: str | None = "first") -> PartialFile:
    return PartialFile.open(target, size=30, kind="download", facts=FACTS, boot=lambda: boot)


def killed(target: Path, *numbers: int, boot: str | None = "first") -> None:
    """What a process leaves that is ended while it works: nothing is flushed, nothing closed in good order."""
    partial = opened(target, boot)
    for number in numbers:
        partial.write((number - 1) * 10, [memoryview(bytes([number]) * 10)])
        partial.record(number)
    partial._file.close()
    assert partial._journal is not None
    partial._journal.close()
    partial._lock_file.release()


def test_a_killed_process_keeps_what_it_had_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    killed(target, 1, 3)
    partial = opened(target)
    assert partial.done == {1, 3}
    partial.close()


def test_after_a_power_cut_it_is_written_again(tmp_path: Path) -> None:
    target = tmp_path / "file"
    killed(target, 1, 3)
    partial = opened(target, "second")
    assert not partial.done
    partial.close()


def test_what_the_next_run_believes_it_brings_to_the_disk(tmp_path: Path) -> None:
    target = tmp_path / "file"
    killed(target, 1, 3)
    opened(target).close()
    partial = opened(target, "second")
    assert partial.done == {1, 3}
    partial.close()


def test_without_an_id_of_the_boot_only_synced_parts_count(tmp_path: Path) -> None:
    target = tmp_path / "file"
    killed(target, 1, boot=None)
    partial = opened(target, None)
    assert not partial.done
    partial.close()


def test_a_full_disk_says_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = opened(tmp_path / "file")

    def full(descriptor: int, views: object, offset: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=12, total=100))
    with pytest.raises(LocalError, match="18 are missing"):
        partial.write(0, [memoryview(bytes(10))])
    partial.close()


def test_a_record_that_found_no_room_spoils_no_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    journal = JournalFile.begin(path, "download", FACTS)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:7]))
    calls = iter(range(3))

    def short(descriptor: int, data: bytes) -> int:
        if next(calls) == 0:
            return real(descriptor, bytes(data)[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(LocalError):
        journal.add_parts({1: {}})
    monkeypatch.setattr(os, "write", real)
    journal.add_parts({2: {}})
    journal.close()
    found = load(path)
    assert found is not None
    assert found.parts.keys() == {2}
    assert found.length == path.stat().st_size


@pytest.mark.parametrize("which", [0, 1])
def test_no_link_is_followed(tmp_path: Path, which: int) -> None:
    """In a folder of several people somebody could lay one to a file of ours."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep me")
    target = tmp_path / "file"
    if which:
        killed(target, 1)
        working_paths(target)[1].unlink()
    working_paths(target)[which].symlink_to(precious)
    if which:  # the journal: it is replaced
        opened(target).close()
    else:
        with pytest.raises(LocalError, match="symbolic link"):
            opened(target)
    assert precious.read_bytes() == b"keep me"
