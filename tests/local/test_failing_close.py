"""A descriptor whose closing fails, as on a network file system that reports a late write error, is free all the same.

Its number may belong to another file of another thread at once, which must never be closed in its place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from connector.errors import LocalError
from connector.local.files import PositionalFile, SourceFile
from connector.local.journal import JournalFile
from connector.local.partial_file import PartialFile
from connector.local.targets import lock_path, working_paths

pytestmark = [
    pytest.mark.usefixtures("no_open_files_left"),
    pytest.mark.skipif(os.name != "posix", reason="takes the numbers of descriptors again, the lowest first"),
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[], object]], list[int]]:
    """Runs a call whose closings fail; returns descriptors opened afterwards, which have the freed numbers."""
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def run(call: Callable[[], object]) -> list[int]:
        with monkeypatch.context() as patched:
            patched.setattr(os, "close", fail)
            with suppress(OSError, LocalError):
                call()
        return [os.open(tmp_path, os.O_RDONLY) for _ in range(4)]

    return run


def all_close(descriptors: list[int]) -> None:
    """Close descriptors, which all have to be open still."""
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_positional_file(tmp_path: Path, failing: Callable[[Callable[[], object]], list[int]]) -> None:
    file = PositionalFile(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    others = failing(file.close)
    file.close()
    all_close(others)


def test_a_source_has_lost_nothing(tmp_path: Path, failing: Callable[[Callable[[], object]], list[int]]) -> None:
    (tmp_path / "f").write_bytes(b"content")
    file = SourceFile.open(tmp_path / "f")
    closed: list[bool] = []

    def close() -> None:
        file.close()
        closed.append(True)

    others = failing(close)
    assert closed == [True]
    file.close()
    all_close(others)


def test_a_journal(tmp_path: Path, failing: Callable[[Callable[[], object]], list[int]]) -> None:
    journal = JournalFile.begin(tmp_path / "j", "download", {})
    others = failing(journal.close)
    journal.remove()
    assert not (tmp_path / "j").exists()
    all_close(others)


def test_a_journal_that_is_not_needed_is_removed(
    tmp_path: Path, failing: Callable[[Callable[[], object]], list[int]]
) -> None:
    journal = JournalFile.begin(tmp_path / "j", "download", {})
    others = failing(journal.remove)
    assert not (tmp_path / "j").exists()
    all_close(others)


@pytest.mark.parametrize("journaled", [True, False])
@pytest.mark.parametrize("step", [PartialFile.close, PartialFile.complete, PartialFile.discard])
def test_a_partial_file(
    tmp_path: Path,
    failing: Callable[[Callable[[], object]], list[int]],
    step: Callable[[PartialFile], None],
    journaled: bool,
) -> None:
    target = tmp_path / "f"
    partial = PartialFile.open(target, size=4, kind="download", facts={"size": 4} if journaled else None)
    partial.write(0, [memoryview(b"data")])
    others = failing(lambda: step(partial))
    partial.close()
    all_close(others)
    # Nothing under the final name, and the next run is not kept away; what can be resumed stays.
    assert not lock_path(target).exists()
    assert [path.exists() for path in working_paths(target)] == [journaled and step is not PartialFile.discard] * 2
    assert not target.exists()
