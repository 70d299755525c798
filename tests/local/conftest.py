from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_open_files_left() -> Iterator[None]:
    """Fail a test that leaves a file descriptor open (Linux)."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = set(os.listdir("/proc/self/fd"))
    yield
    after = {number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")}
    assert after <= before
