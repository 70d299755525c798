from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.local.key_files import write_key_pair
from tests.support.fake_archive import FakeArchive
from tests.support.pipeline_site import SIZE, Site
from tests.support.served_fake import ServedFake, serving


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setitem(os.environ, "CONNECTOR_CONFIG", os.devnull)
    keys = write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase=None)
    archive = FakeArchive(keys)
    for number in (1, 2, 3):
        archive.add_file(f"GHGAF0000000000000{number}", random.Random(number).randbytes(SIZE))
    with serving(ServedFake(archive)) as server:
        yield Site(tmp_path, archive, f"{server.url}/wkvs")


def _in_use() -> tuple[int, set[str]]:
    gc.collect()
    # Trio keeps idle threads for ten seconds, for any run of it.
    threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}
    return len(os.listdir("/proc/self/fd")), threads


@pytest.fixture
def nothing_leaks(site: Site) -> Iterator[None]:
    """The test leaves neither descriptors nor threads; of both ends, since the archive is in this process."""
    before = _in_use()
    yield
    deadline = time.monotonic() + 180
    while not _is_within(after := _in_use(), before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _is_within(after, before), (before, after)


def _is_within(after: tuple[int, set[str]], before: tuple[int, set[str]]) -> bool:
    """Whether nothing is in use that was not; what an earlier test had left may have ended meanwhile."""
    return after[0] <= before[0] and after[1] <= before[1]
