from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until


@pytest.fixture
def no_open_files_left() -> Iterator[None]:
    """Fail a test that leaves a file descriptor open (Linux)."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = set(os.listdir("/proc/self/fd"))
    yield

    def left() -> set[str]:
        return {number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")} - before

    # The thread of the heartbeat reads a lock file when one is made just after the last one was released.
    wait_until(lambda: not left(), "a descriptor is open", seconds=10)
