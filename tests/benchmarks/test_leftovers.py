"""Folders of earlier runs take no room, and their files are not deleted while others are measured."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.leftovers import put_away


def test_bytes_are_given_back_and_the_inodes_stay_taken(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    files = [folder / "a", folder / "deep" / "b"]
    for file in files:
        file.write_bytes(bytes(100_000))
    (folder / "link").symlink_to(folder / "nothing")
    inodes = {os.stat(file).st_ino for file in files}
    put_away(folder, tmp_path / "heap")
    assert not folder.exists()
    kept = [path for path in (tmp_path / "heap").rglob("*") if path.is_file()]
    assert {path.stat().st_ino for path in kept} == inodes
    assert all(path.stat().st_size == 0 for path in kept)


def test_the_same_name_again_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "out").mkdir()
        put_away(tmp_path / "out", tmp_path / "heap")
        put_away(tmp_path / "out", tmp_path / "heap")
    assert len(list((tmp_path / "heap").iterdir())) == 2
