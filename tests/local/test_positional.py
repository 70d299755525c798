"""Reading and writing many pieces at a place: all of them, however the system cuts the work."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from connector.local import files
from connector.local.files import PositionalFile, start_writeback, sync, sync_directory

DATA = random.Random(7).randbytes(10_000)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[PositionalFile]:
    file = PositionalFile(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    yield file
    file.close()


@pytest.fixture(params=["vectored", "vectored, one byte short of a piece", "seek and read"])
def any_file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PositionalFile]:
    """A file by how the system moves pieces: all at once, in odd amounts, or without vectored calls (Windows)."""
    if "short" in request.param:
        monkeypatch.setattr(os, "preadv", short(os.preadv))
        monkeypatch.setattr(os, "pwritev", short(os.pwritev))
    descriptor = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    file = PositionalFile(descriptor, vectored=not request.param.startswith("seek"))
    yield file
    file.close()


def short(real: Callable[..., int]) -> Callable[..., int]:
    def call(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        # Ends in the middle of the second piece, or one byte before the end of the only one.
        if len(views) > 1:
            views = [views[0], views[1][: max(len(views[1]) // 2, 1)]]
        else:
            views = [views[0][: max(len(views[0]) - 1, 1)]]
        return real(descriptor, views, offset)

    return call


def pieces(buffer: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    views, at = [], 0
    for size in sizes:
        views.append(buffer[at : at + size])
        at += size
    return views


SIZES = [[10_000], [1, 9_999], [0, 5_000, 0, 0, 5_000, 0], [1] * 3_000 + [7_000], [3] * 3_333 + [1]]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)} pieces")
def test_all_pieces_arrive_in_order(any_file: PositionalFile, sizes: list[int]) -> None:
    assert any_file.write_from(100, pieces(memoryview(DATA), sizes)) == len(DATA)
    buffer = bytearray(len(DATA))
    assert any_file.read_into(100, pieces(memoryview(buffer), list(reversed(sizes)))) == len(DATA)
    assert buffer == DATA
    assert os.pread(any_file.descriptor, 101, 0) == bytes(100) + DATA[:1]


def test_more_pieces_than_one_call_takes_are_split(file: PositionalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    real = os.pwritev

    def counted(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        counts.append(len(views))
        return real(descriptor, views, offset)

    monkeypatch.setattr(os, "pwritev", counted)
    assert file.write_from(0, pieces(memoryview(DATA), [4] * 2500)) == len(DATA)
    assert counts == [1024, 1024, 452]


def test_the_end_of_the_file_ends_a_read(any_file: PositionalFile) -> None:
    any_file.write_from(0, [memoryview(b"0123456789")])
    buffer = bytearray(20)
    assert any_file.read_into(4, pieces(memoryview(buffer), [4, 10, 6])) == 6
    assert buffer == b"456789" + bytes(14)
    assert any_file.read_into(10, [memoryview(buffer)]) == 0
    assert any_file.read_into(0, []) == 0


def test_a_write_behind_the_end_leaves_a_hole(any_file: PositionalFile) -> None:
    any_file.write_from(5, [memoryview(b"x")])
    assert os.pread(any_file.descriptor, 10, 0) == bytes(5) + b"x"


def test_closing_twice_closes_no_stranger(tmp_path: Path) -> None:
    file = PositionalFile(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    file.close()
    stranger = os.open(tmp_path / "g", os.O_RDWR | os.O_CREAT)
    file.close()
    os.fstat(stranger)
    os.close(stranger)


def test_a_closed_file_cannot_be_written_to(tmp_path: Path) -> None:
    file = PositionalFile(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write_from(0, [memoryview(b"x")])


def test_windows_has_no_way_to_sync_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "none")
    sync_directory(tmp_path / "none", platform="win32")


def test_syncing_goes_on_without_fdatasync(
    file: PositionalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(file.descriptor)
    monkeypatch.delattr(os, "fdatasync")
    sync(file.descriptor)
    sync_directory(tmp_path)
    assert os.sysconf("SC_IOV_MAX") >= files._IOV_MAX


def test_writeback_is_a_hint_that_changes_nothing_of_the_content(
    file: PositionalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_from(0, [memoryview(DATA)])
    start_writeback(file.descriptor, 0, len(DATA))
    start_writeback(file.descriptor, 5_000, 10 * len(DATA))
    read, write = os.pipe()
    start_writeback(read, 0, 1)  # what cannot be hinted at is let be
    os.close(read)
    os.close(write)
    start_writeback(file.descriptor, 0, len(DATA), platform="darwin")
    back = bytearray(len(DATA))
    assert file.read_into(0, [memoryview(back)]) == len(DATA)
    assert back == DATA


def test_one_thread_writes_at_a_time(file: PositionalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    writing = threading.Lock()

    def alone(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        at_once.append(not writing.acquire(blocking=False))
        time.sleep(0.005)
        writing.release()
        return sum(map(len, views))

    monkeypatch.setattr(os, "pwritev", alone)
    threads = [threading.Thread(target=file.write_from, args=(0, [memoryview(DATA)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert at_once == [False] * 4
