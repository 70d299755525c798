"""A small file system of its own, for tests of a disk that is full or cannot be written; only root may make one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos_stage import MIB


@contextlib.contextmanager
def small_disk_at(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of `size`, such as `40m`, for the `with` block; skips the test where that is not allowed."""
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "test", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        _unmount(place)


def make_read_only(place: Path) -> None:
    """Let a file system not be written any more; no file of it may be open for that."""
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)


def fill(place: Path) -> Path:
    """Use up the disk to the last block."""
    greedy = place / "greedy"
    for size in (MIB, 4096, 1):
        with greedy.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(size))
    return greedy


def _unmount(place: Path) -> None:
    """Unmount, once the worker of a killed server has noticed that its input ended and let go of its files."""
    deadline = time.monotonic() + 180
    while subprocess.run(["umount", place], check=time.monotonic() > deadline).returncode:
        time.sleep(0.2)
