"""What the file systems of other systems cannot do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import synced_folder


def test_windows_cannot_sync_a_folder(tmp_path: Path) -> None:
    with synced_folder(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), synced_folder(tmp_path / "none"):
        pass
    with synced_folder(tmp_path / "none", platform="win32"):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="has a file system that cannot sync")
def test_a_file_system_that_cannot_sync_a_folder() -> None:
    descriptor = os.open("/proc", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with synced_folder(Path("/proc")):
        pass


@pytest.mark.parametrize(("platform", "alone"), [("linux", False), ("darwin", False), ("win32", True)])
def test_without_locks_every_process_counts_as_alone(tmp_path: Path, platform: str, alone: bool) -> None:
    first, second = (Disk(tmp_path, durable=False, platform=platform) for _ in range(2))
    try:
        assert first.lock_writers(exclusively=False)
        assert second.lock_writers(exclusively=True) is alone
    finally:
        first.close()
        second.close()
