"""A file on its way: what the journal claims is on the disk, and only what is whole gets its name."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from connector.download.unfinished import unfinished_downloads
from connector.errors import FileExistsAlready, LocalError
from connector.local.disk import local_failures
from connector.local.journal import load
from connector.local.lock_file import LockFile
from connector.local.partial_file import FLUSH_BYTES, PartialFile
from connector.local.targets import check_target, existing, lock_path, working_paths
from tests.support.journal_lines import part_line

pytestmark = pytest.mark.usefixtures("no_open_files_left")

FACTS = {"accession": "A", "size": 30, "part_size": 10}
PARTS = {1: b"a" * 10, 2: b"b" * 10, 3: b"c" * 10}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.c4gh"


def opened(
    target: Path, *, size: int = 30, kind: str = "download", flush_bytes: int = FLUSH_BYTES, **changes: object
) -> PartialFile:
    return PartialFile.open(target, size=size, kind=kind, facts=FACTS | changes, flush_bytes=flush_bytes)


def recorded(target: Path) -> Mapping[int, Mapping[str, Any]]:
    """The parts that the journal of a target names."""
    journal = load(working_paths(target)[1])
    assert journal is not None
    return journal.parts


def write(partial: PartialFile, *numbers: int) -> None:
    for number in numbers:
        partial.write((number - 1) * 10, [memoryview(PARTS[number])])
        partial.record(number)


def interrupted(target: Path, *numbers: int) -> tuple[Path, Path]:
    partial = opened(target)
    write(partial, *numbers)
    partial.close()
    return working_paths(target)


def test_a_whole_file_gets_its_name_and_leaves_nothing_else(target: Path) -> None:
    partial = opened(target)
    write(partial, 3, 1, 2)
    assert not target.exists()
    partial.complete()
    partial.close()
    assert target.read_bytes() == b"".join(PARTS.values())
    assert os.listdir(target.parent) == [target.name]


def test_an_unfinished_file_stays_with_its_journal(target: Path) -> None:
    path, journal = interrupted(target, 2)
    assert sorted(os.listdir(target.parent)) == [path.name, journal.name]
    assert path.read_bytes() == bytes(10) + PARTS[2]
    assert journal.stat().st_mode & 0o777 == 0o600


def test_the_next_run_goes_on(target: Path) -> None:
    interrupted(target, 1, 3)
    partial = opened(target)
    assert sorted(partial.done) == [1, 3]
    write(partial, 2)
    partial.complete()
    partial.close()
    assert target.read_bytes() == b"".join(PARTS.values())
    assert os.listdir(target.parent) == [target.name]


def test_several_runs_add_to_the_same_journal(target: Path) -> None:
    for number in (1, 2):
        partial = opened(target)
        write(partial, number)
        partial.close()
    partial = opened(target)
    assert sorted(partial.done) == [1, 2]
    partial.close()


@pytest.mark.parametrize(
    "changes", [{"size": 31}, {"part_size": 11}, {"accession": "B"}, {"kind": "download-decrypted"}]
)
def test_other_facts_begin_anew(target: Path, changes: dict[str, Any]) -> None:
    interrupted(target, 1)
    partial = PartialFile.open(
        target,
        size=30,
        kind=changes.get("kind", "download"),
        facts=FACTS | {k: v for k, v in changes.items() if k != "kind"},
    )
    assert not partial.done
    assert working_paths(target)[0].stat().st_size == 0
    partial.close()
    assert opened_done(target) == []


def opened_done(target: Path) -> list[int]:
    partial = opened(target)
    try:
        return sorted(partial.done)
    finally:
        partial.close()


@pytest.mark.parametrize("tail", [b"0123456789abcdef {", b"\x00" * 40, part_line(3, {})[:-1], b"\n", b"garbage\n"])
def test_a_torn_line_is_cut_off_before_anything_is_added(target: Path, tail: bytes) -> None:
    _, journal = interrupted(target, 1)
    journal.write_bytes(journal.read_bytes() + tail)
    partial = opened(target)
    assert sorted(partial.done) == [1]
    write(partial, 2)
    partial.close()
    assert opened_done(target) == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\n", b"not a journal\n", os.urandom(200)])
def test_a_journal_that_cannot_be_believed_is_begun_anew(target: Path, content: bytes) -> None:
    _, journal = interrupted(target, 1)
    journal.write_bytes(content)
    assert opened_done(target) == []


def test_a_damaged_record_in_the_middle_ends_what_is_believed(target: Path) -> None:
    _, journal = interrupted(target, 1, 2, 3)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b":2", b":9")
    journal.write_bytes(b"".join(lines))
    assert opened_done(target) == [1]


def test_a_journal_whose_working_copy_is_gone_is_not_believed(target: Path) -> None:
    # A hole in a file reads as zeros: whoever took them for what was written once would not know.
    path, _ = interrupted(target, 1, 2)
    path.unlink()
    partial = opened(target)
    assert not partial.done
    partial.close()


def test_data_is_on_the_disk_before_the_record_that_claims_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims_at_sync: list[tuple[str, list[int]]] = []
    real = os.fdatasync

    def spy(descriptor: int) -> None:
        journal = load(working_paths(target)[1])
        claims_at_sync.append((os.readlink(f"/proc/self/fd/{descriptor}"), sorted(journal.parts if journal else ())))
        real(descriptor)

    partial = opened(target)
    monkeypatch.setattr(os, "fdatasync", spy)
    write(partial, 1, 2)
    assert recorded(target) == {}, "nothing was synced yet"
    partial.close()
    path, journal = map(str, working_paths(target))
    assert claims_at_sync == [(path, []), (journal, [1, 2])]


def test_a_lot_of_data_is_claimed_on_the_way(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = opened(target, flush_bytes=20)
    write(partial, 1)
    assert recorded(target).keys() == set()
    write(partial, 2)
    assert recorded(target).keys() == {1, 2}
    partial.close()


def test_the_disk_is_busy_on_the_way(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, int]] = []
    synced: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, offset, size, advice: begun.append((offset, size)))
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    partial = PartialFile.open(target, size=30, kind="decrypt", facts=None)
    for number in (1, 2, 3):
        partial.write((number - 1) * 10, [memoryview(PARTS[number])])
    assert begun == [(0, 10), (10, 10), (20, 10)]
    assert synced == []  # nothing is claimed, so nothing has to be there before the end
    partial.complete()
    assert synced == [30]
    partial.close()


def test_while_one_thread_waits_for_the_disk_the_others_go_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        waiting.set()
        assert go_on.wait(60)

    partial = opened(target, flush_bytes=10)
    monkeypatch.setattr(os, "fdatasync", slow)
    first = threading.Thread(target=write, args=(partial, 1))
    first.start()
    assert waiting.wait(60)
    write(partial, 2)  # would wait, too, if it synced
    go_on.set()
    first.join()
    partial.close()


def test_time_alone_makes_a_claim_due(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = opened(target)
    later = time.monotonic() + 10
    monkeypatch.setattr(time, "monotonic", lambda: later)
    write(partial, 2)
    assert recorded(target).keys() == {2}
    partial.close()


def test_reading_back_says_when_the_file_does_not_reach_that_far(target: Path) -> None:
    partial = opened(target)
    write(partial, 1)
    buffer = bytearray(10)
    assert partial.read_into(0, [memoryview(buffer)[:4], memoryview(buffer)[4:]])
    assert buffer == PARTS[1]
    assert not partial.read_into(5, [memoryview(buffer)])
    assert not partial.read_into(10, [memoryview(buffer)])
    partial.close()


def test_what_is_worthless_is_removed(target: Path) -> None:
    partial = opened(target)
    write(partial, 1)
    partial.discard()
    partial.close()
    assert os.listdir(target.parent) == []


def test_without_facts_there_is_no_journal_and_nothing_unfinished_stays(target: Path) -> None:
    partial = PartialFile.open(target, size=10, kind="download", facts=None)
    partial.write(0, [memoryview(PARTS[1])])
    partial.record(1)
    assert not working_paths(target)[1].exists()
    partial.close()
    assert os.listdir(target.parent) == []


def test_without_facts_a_whole_file_gets_its_name_too(target: Path) -> None:
    partial = PartialFile.open(target, size=10, kind="download", facts=None)
    partial.write(0, [memoryview(PARTS[1])])
    partial.complete()
    partial.close()
    assert target.read_bytes() == PARTS[1]
    assert os.listdir(target.parent) == [target.name]


def test_the_journal_of_another_transfer_does_not_outlive_its_working_copy(target: Path) -> None:
    interrupted(target, 1, 2)
    partial = PartialFile.open(target, size=10, kind="decryption", facts=None)
    assert not working_paths(target)[1].exists(), "after a crash it would claim what was overwritten here"
    partial.write(0, [memoryview(PARTS[1])])
    partial.complete()
    partial.close()
    assert os.listdir(target.parent) == [target.name]


def test_a_disk_that_cannot_hold_the_file_is_said_at_once(target: Path) -> None:
    with pytest.raises(LocalError, match=r"[\d,]+ are missing"):
        opened(target, size=2**62)
    assert os.listdir(target.parent) == [], "nothing is left behind by a file that could not begin"


def test_a_disk_that_is_full_now_keeps_what_was_done_before(target: Path) -> None:
    interrupted(target, 1, 2)
    with pytest.raises(LocalError, match="are missing"):
        opened(target, size=2**62)
    assert opened_done(target) == [1, 2]


def test_only_what_is_missing_has_to_fit(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(target, 1, 2)
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert opened_done(target) == [1, 2]


def test_one_process_works_on_a_target_once(target: Path) -> None:
    first = opened(target)
    with pytest.raises(LocalError, match=r"this process .*file\.c4gh"):
        opened(target)
    write(first, 1)
    first.close()
    assert opened_done(target) == [1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        opened(tmp_path / "missing" / "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LocalError, match="Permission denied"):
        opened(tmp_path / "x")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        opened(tmp_path / ("x" * 256))
    assert "shorter" in caught.value.hint
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_place_of_the_working_copy(target: Path) -> None:
    working_paths(target)[0].mkdir()
    with pytest.raises(LocalError):
        opened(target)
    assert sorted(os.listdir(target.parent)) == ["file.c4gh.part"]


def test_a_target_that_exists_is_kept_unless_told_otherwise(target: Path) -> None:
    check_target(target, overwrite=False)
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsAlready, match="exists already"):
        check_target(target, overwrite=False)
    check_target(target, overwrite=True)


def test_a_link_that_leads_nowhere_is_in_the_way_too(target: Path) -> None:
    target.symlink_to(target.parent / "nowhere")
    with pytest.raises(FileExistsAlready):
        check_target(target, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_replaced(target: Path, overwrite: bool) -> None:
    target.mkdir()
    with pytest.raises(LocalError, match="is a folder"):
        check_target(target, overwrite=overwrite)


def killed_after_the_rename(target: Path) -> None:
    """Leave what a process leaves that is killed between giving the name and removing the journal."""
    path, journal = interrupted(target, 1, 2, 3)
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    lock_path(target).write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid, "started": "1"}))
    path.rename(target)
    assert journal.exists()


def test_what_a_kill_after_the_rename_has_left_is_swept(target: Path) -> None:
    killed_after_the_rename(target)
    assert unfinished_downloads(target.parent) == []
    with pytest.raises(FileExistsAlready):
        check_target(target, overwrite=False)
    assert os.listdir(target.parent) == [target.name]


def test_looking_for_a_file_sweeps_too(target: Path) -> None:
    assert existing(target) is None
    killed_after_the_rename(target)
    found = existing(target)
    assert found is not None
    assert found.st_size == target.stat().st_size
    assert os.listdir(target.parent) == [target.name]


def test_only_files_are_there(target: Path) -> None:
    target.mkdir()
    assert existing(target) is None
    target.rmdir()
    target.symlink_to("nowhere")
    assert existing(target) is None


def test_what_a_run_finished_is_noted_before_it_gets_its_name(target: Path) -> None:
    partial = PartialFile.open(target, size=3, kind="download", facts=None)
    partial.write(0, [memoryview(b"abc")])
    seen = []
    partial.complete(before_rename=lambda state: seen.append((target.exists(), state.st_size, state.st_mtime_ns)))
    partial.close()
    assert seen == [(False, 3, target.stat().st_mtime_ns)]


def test_what_another_process_works_on_is_not_swept(target: Path) -> None:
    killed_after_the_rename(target)
    lock_path(target).unlink()
    claim = LockFile.take(lock_path(target))
    with pytest.raises(FileExistsAlready):
        check_target(target, overwrite=False)
    assert working_paths(target)[1].exists()
    claim.release()


@pytest.fixture
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lock file is looked at again, as after a long pause of the process."""
    hours = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))


@pytest.mark.usefixtures("always_ask")
def test_who_was_taken_over_after_a_long_silence_gives_no_name(target: Path) -> None:
    partial = opened(target)
    write(partial, 1, 2, 3)
    lock_path(target).write_text("another's")
    with pytest.raises(LocalError, match="taken over"):
        partial.complete()
    with pytest.raises(LocalError, match="taken over"):
        partial.close()
    path, journal = working_paths(target)
    assert sorted(os.listdir(target.parent)) == sorted([path.name, journal.name, lock_path(target).name])
    assert lock_path(target).read_text() == "another's"


@pytest.mark.usefixtures("always_ask")
def test_who_was_taken_over_writes_nothing_more(target: Path) -> None:
    partial = opened(target)
    write(partial, 1)
    lock_path(target).write_text("another's")
    before = [path.read_bytes() for path in working_paths(target)]
    steps: list[Callable[[], object]] = [lambda: partial.write(0, [memoryview(b"x")]), lambda: partial.record(2)]
    for step in steps:
        with pytest.raises(LocalError, match="taken over"):
            step()
    with pytest.raises(LocalError, match="taken over"):
        partial.close()
    assert [path.read_bytes() for path in working_paths(target)] == before


@pytest.mark.usefixtures("always_ask")
def test_who_was_taken_over_throws_nothing_away(target: Path) -> None:
    partial = opened(target)
    write(partial, 1)
    lock_path(target).write_text("another's")
    with pytest.raises(LocalError, match="taken over"):
        partial.discard()
    partial.close()
    assert all(path.exists() for path in working_paths(target))


def test_what_cannot_be_looked_at_is_not_taken_for_missing(target: Path) -> None:
    target.write_bytes(b"a file where a folder should be")
    with pytest.raises(LocalError, match=target.name):
        existing(target / "below")


def test_another_file_in_the_place_of_the_partial_file_does_not_get_the_name(target: Path) -> None:
    partial = opened(target)
    write(partial, 1, 2, 3)
    other = target.with_name("other")
    other.write_bytes(b"of another program")
    os.replace(other, working_paths(target)[0])
    with pytest.raises(LocalError, match="replaced"):
        partial.complete()
    partial.close()
    assert not target.exists()


@pytest.mark.parametrize("facts", [None, FACTS])
def test_a_file_that_no_run_began_is_not_truncated(target: Path, facts: dict[str, Any] | None) -> None:
    path, _ = working_paths(target)
    path.write_bytes(b"somebody's own")
    with pytest.raises(LocalError, match="in the way"):
        PartialFile.open(target, size=30, kind="download", facts=facts)
    assert path.read_bytes() == b"somebody's own"
    assert not lock_path(target).exists()


def test_what_a_killed_run_left_without_a_journal_is_written_again(target: Path) -> None:
    working_paths(target)[0].write_bytes(b"the beginning")
    code = "import sys; from pathlib import Path; from connector.local.lock_file import LockFile as L"
    subprocess.run([sys.executable, "-c", f"{code}; L.take(Path(sys.argv[1]))", lock_path(target)], check=True)
    partial = PartialFile.open(target, size=3, kind="decryption", facts=None)
    partial.write(0, [memoryview(b"abc")])
    partial.complete()
    partial.close()
    assert target.read_bytes() == b"abc"
    assert os.listdir(target.parent) == [target.name]


LOCKED = """
import os, sys
from pathlib import Path
from connector.local.lock_file import LockFile
locked = []
def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.listdir", "os.link") and locked:
        left -= 1
        if left < 0:
            os._exit(9)
left = int(sys.argv[2])
sys.addaudithook(count)
locked.append(True)
LockFile.take(Path(sys.argv[1]))
os._exit(9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not seen there")
@pytest.mark.parametrize("calls", range(2, 11))
def test_who_is_killed_while_it_takes_over_does_not_hide_whose_file_it_is(target: Path, calls: int) -> None:
    working_paths(target)[0].write_bytes(b"the beginning")
    for number in (100, calls):  # the first one is killed later, the second one in the middle
        died = subprocess.run([sys.executable, "-c", LOCKED, lock_path(target), str(number)], check=False)
        assert died.returncode == 9
    for path in target.parent.glob(f"{lock_path(target).name}*"):
        os.utime(path, (1, 1))  # an empty one is not taken over at once
    partial = PartialFile.open(target, size=3, kind="decryption", facts=None)
    partial.write(0, [memoryview(b"abc")])
    partial.complete()
    partial.close()
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of open files")
@pytest.mark.parametrize("facts", [None, FACTS | {"accession": "B"}])
def test_a_file_that_cannot_be_opened_is_not_in_the_way_later(target: Path, facts: dict[str, Any] | None) -> None:
    """Nor is its journal lost, if it has one."""
    if facts is None:
        working_paths(target)[0].write_bytes(b"the beginning")
        subprocess.run([sys.executable, "-c", LOCKED, lock_path(target), "100"], check=False)
    else:
        interrupted(target, 1)

    def fails(event: str, arguments: tuple[Any, ...]) -> None:
        if broken and event == "open" and arguments[0] == str(working_paths(target)[0]):
            raise OSError(errno.EMFILE, "Too many open files")

    broken = True
    sys.addaudithook(fails)  # one cannot be removed
    with pytest.raises(LocalError, match="Too many"):
        PartialFile.open(target, size=3, kind="decryption", facts=facts)
    broken = False
    if facts is not None:
        assert list(recorded(target)) == [1]
    PartialFile.open(target, size=3, kind="decryption", facts=facts).close()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs two users")
def test_another_user_of_a_shared_folder_is_told_whose_file_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"")
    os.chown(theirs, 4242, -1)
    with pytest.raises(LocalError) as caught, local_failures("read", theirs):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert "4242" in caught.value.hint


def test_a_lock_file_can_be_read_by_other_users_of_the_folder(target: Path) -> None:
    partial = opened(target)
    umask = os.umask(0)
    os.umask(umask)
    assert lock_path(target).stat().st_mode & 0o777 == 0o644 & ~umask
    partial.close()
