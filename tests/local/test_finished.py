"""Notes of finished files: read back by the next run, worth nothing where they are damaged, never a failure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.local.state_folder import FinishedFile, FinishedFiles

FILE = FinishedFile(10, 1_700_000_000_123_456_789, "ab" * 32, "GHGAF01")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "finished"


def noted(folder: Path, *keys: str, file: FinishedFile = FILE) -> Path:
    notes = FinishedFiles.read(folder, "/data")
    for key in keys:
        notes.add(file, key)
    [path] = folder.iterdir()
    return path


def test_the_next_run_knows_what_was_finished(folder: Path) -> None:
    noted(folder, "a.bin", "b.bin")
    notes = FinishedFiles.read(folder, "/data")
    assert notes.find("a.bin") == notes.find("b.bin") == FILE
    assert notes.find("c.bin") is None
    assert FinishedFiles.read(folder, "/other").find("a.bin") is None


def test_a_key_has_several_parts(folder: Path) -> None:
    FinishedFiles.read(folder, "box").add(FILE, "alias", "/data/a")
    notes = FinishedFiles.read(folder, "box")
    assert notes.find("alias", "/data/a") == FILE
    assert notes.find("alias") is None


def test_what_is_added_is_for_the_next_run(folder: Path) -> None:
    noted(folder, "a.bin")
    notes = FinishedFiles.read(folder, "/data")
    notes.add(attrs.evolve(FILE, size=11), "a.bin")
    assert notes.find("a.bin") is None, "neither kept in memory, nor taken for what it was before"
    found = FinishedFiles.read(folder, "/data").find("a.bin")
    assert found is not None
    assert found.size == 11


def test_the_last_note_counts(folder: Path) -> None:
    noted(folder, "a.bin")
    later = FinishedFile(11, 5, None, "")
    noted(folder, "a.bin", file=later)
    assert FinishedFiles.read(folder, "/data").find("a.bin") == later


def test_a_file_is_unchanged_as_long_as_size_and_time_are(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(FILE.mtime_ns, FILE.mtime_ns))
    assert FILE.is_unchanged(path.stat())
    os.utime(path, ns=(FILE.mtime_ns, FILE.mtime_ns + 1))
    assert not FILE.is_unchanged(path.stat())
    path.write_bytes(b"012345678")
    os.utime(path, ns=(FILE.mtime_ns, FILE.mtime_ns))
    assert not FILE.is_unchanged(path.stat())


@pytest.mark.parametrize("cut", [1, 20, 100], ids=str)
def test_a_line_cut_short_costs_that_note_alone(folder: Path, cut: int) -> None:
    path = noted(folder, "a.bin", "b.bin")
    path.write_bytes(path.read_bytes()[:-cut])
    noted(folder, "c.bin")
    notes = FinishedFiles.read(folder, "/data")
    assert notes.find("a.bin") == notes.find("c.bin") == FILE
    assert notes.find("b.bin") == (FILE if cut == 1 else None), "all but its line break"


def test_a_damaged_line_is_passed_over(folder: Path) -> None:
    path = noted(folder, "a.bin", "b.bin", "c.bin")
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"size":10', b'"size":11')
    path.write_bytes(b"\xff\n" + b"\n".join(lines) + b"{}\n")
    notes = FinishedFiles.read(folder, "/data")
    assert [notes.find(key) for key in ("a.bin", "b.bin", "c.bin")] == [FILE, None, FILE]


def test_a_note_that_proved_wrong_is_dropped(folder: Path) -> None:
    noted(folder, "a.bin", "b.bin")
    notes = FinishedFiles.read(folder, "/data")
    notes.forget("a.bin")
    notes.forget("never noted")
    assert notes.find("a.bin") is None
    notes = FinishedFiles.read(folder, "/data")
    assert notes.find("a.bin") is None
    assert notes.find("b.bin") == FILE


def test_many_superseded_notes_are_removed(folder: Path) -> None:
    path = noted(folder, *["a.bin"] * 1500, "b.bin")
    before = path.stat().st_size
    noted(folder, "c.bin")
    assert path.stat().st_size < before / 100
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    notes = FinishedFiles.read(folder, "/data")
    assert notes.find("a.bin") == notes.find("b.bin") == notes.find("c.bin") == FILE


def test_notes_of_another_year_are_removed_when_new_ones_begin(folder: Path) -> None:
    old = noted(folder, "a.bin")
    long_ago = time.time() - 400 * 86_400
    os.utime(old, (long_ago, long_ago))
    notes = FinishedFiles.read(folder, "/other")
    notes.add(FILE, "a.bin")
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


def test_a_state_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    notes = FinishedFiles.read(tmp_path / "state" / "finished", "/data")
    notes.add(FILE, "a.bin")
    assert FinishedFiles.read(tmp_path / "state" / "finished", "/data").find("a.bin") is None


def test_notes_are_for_their_owner_alone(folder: Path) -> None:
    path = noted(folder, "a.bin")
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_names_that_are_no_text_are_noted(folder: Path) -> None:
    name = os.fsdecode(b"a\xff.bin")
    noted(folder, name)
    assert FinishedFiles.read(folder, "/data").find(name) == FILE


@pytest.mark.parametrize(
    "wrong", [{"size": "10"}, {"mtime_ns": None}, {"verified": "yes"}, {"origin": 1}, {"sha256": 5}]
)
def test_a_note_of_other_types_is_passed_over(folder: Path, wrong: dict[str, Any]) -> None:
    noted(folder, "a.bin", file=attrs.evolve(FILE, **wrong))
    noted(folder, "b.bin")
    notes = FinishedFiles.read(folder, "/data")
    assert (notes.find("a.bin"), notes.find("b.bin")) == (None, FILE)


def test_an_empty_file_of_notes_is_added_to(folder: Path) -> None:
    noted(folder, "a.bin").write_bytes(b"")
    path = noted(folder, "b.bin")
    assert path.read_bytes().count(b"\n") == 1
    assert FinishedFiles.read(folder, "/data").find("b.bin") == FILE
