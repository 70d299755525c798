"""The archive of the demonstration, where it does not start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connector.cli.commands.demo_archive import serving
from connector.errors import BrokenError, LocalError

pytestmark = pytest.mark.trio


async def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"a file where the folder should be")
    with pytest.raises(BrokenError, match="did not start") as caught:
        async with serving(tmp_path / "archive", tmp_path / "log"):
            pass
    assert str(tmp_path / "archive") in caught.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="has a folder in which nothing can be made")
async def test_one_that_this_machine_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="did not start"):
        async with serving(Path("/proc/archive"), tmp_path / "log"):
            pass


async def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BrokenError, match="within 0 seconds"):
        async with serving(tmp_path / "archive", tmp_path / "log", timeout=0):
            pass
