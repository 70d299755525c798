"""A small file system of its own, for tests of a disk that is full; only root may make one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


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


def _unmount(place: Path) -> None:
    """Unmount, once the worker of a killed server has noticed that its input ended and let go of its files."""
    deadline = time.monotonic() + 20
    while subprocess.run(["umount", place], check=time.monotonic() > deadline).returncode:
        time.sleep(0.2)
