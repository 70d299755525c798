"""Two processes, one target: the second one is told, whatever locks the file system has."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.errors import LocalError
from connector.local.lock_file import STALE_AFTER, LockedElsewhereError, LockFile
from connector.local.lock_owner import LockOwner
from connector.transfer import NotReadyError

HOLD = """
import sys
from pathlib import Path
from connector.local.lock_file import LockFile
from connector.errors import LocalError
try:
    claim = LockFile.take(Path(sys.argv[1]))
except LocalError as error:
    print("refused:", error.message, flush=True)
else:
    print("held", flush=True)
    if sys.stdin.readline() == "release\\n":
        claim.release()
"""


class Holder:
    """Another process that tries to take a claim."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def end(self, last_word: str = "") -> None:
        self.process.communicate(last_word, timeout=180)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=180)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.part.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    holder = Holder(path)
    yield holder
    if holder.process.poll() is None:
        holder.kill()


def test_the_second_process_is_refused(path: Path, holder: Holder) -> None:
    assert holder.said == "held"
    with pytest.raises(LocalError, match=r"x\.part \(PID") as caught:
        LockFile.take(path)
    assert f"kill {holder.process.pid}" in caught.value.hint
    assert caught.value.exit_code == 3
    holder.end("release\n")
    LockFile.take(path).release()
    assert not path.exists()


def test_of_many_processes_exactly_one_gets_it(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.stdout.readline().split(":")[0].strip() for process in processes]  # type: ignore[union-attr]
    for process in processes:
        process.communicate(timeout=180)
    assert sorted(said) == ["held", "refused", "refused", "refused"]


def test_the_claim_of_a_killed_process_is_taken_over(path: Path, holder: Holder) -> None:
    holder.kill()
    assert path.exists()
    claim = LockFile.take(path)
    assert json.loads(path.read_bytes())["pid"] == os.getpid()
    claim.release()
    assert os.listdir(path.parent) == [], "nothing is left of the takeover either"


def test_a_later_process_with_the_same_number_does_not_hold_it(path: Path) -> None:
    with_our_number = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}
    path.write_text(json.dumps(with_our_number))
    users = path.with_name(f"{path.name}.bam")
    users.write_text("of the user, with a name like those of the takeover")
    LockFile.take(path).release()
    assert users.exists()


ELSEWHERE = {"host": "elsewhere.invalid", "pid": 2**22 + 1, "started": "1"}


def leave(path: Path, mark: Mapping[str, Any], *, silent_for: float) -> None:
    """A claim of another process, which has not been touched for so many seconds."""
    path.write_text(json.dumps(mark))
    age(path, silent_for)


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_the_claim_of_another_machine_is_respected_while_it_is_touched(path: Path) -> None:
    leave(path, {**ELSEWHERE, "touched": True}, silent_for=STALE_AFTER - 30)
    with pytest.raises(LockedElsewhereError, match=r"x\.part, .* elsewhere\.invalid;") as caught:
        LockFile.take(path)
    assert "in 3 minutes" in caught.value.hint
    assert caught.value.exit_code == 3
    with pytest.raises(NotReadyError, match=r"elsewhere\.invalid; .* heartbeat") as postponed:
        LockFile.take(path)
    assert 0 < postponed.value.seconds <= 30
    assert os.listdir(path.parent) == [path.name]


def test_the_claim_of_another_machine_is_taken_over_after_a_long_silence(path: Path) -> None:
    leave(path, {**ELSEWHERE, "touched": True}, silent_for=STALE_AFTER + 1)
    claim = LockFile.take(path)
    assert json.loads(path.read_bytes())["host"] == socket.gethostname()
    claim.release()
    assert os.listdir(path.parent) == []


def test_a_living_process_of_this_machine_is_respected_however_silent(path: Path, holder: Holder) -> None:
    age(path, 1e6)
    with pytest.raises(LocalError, match="Another process"):
        LockFile.take(path)


def test_an_empty_claim_whose_writer_died_is_taken_over_after_a_while(path: Path) -> None:
    path.write_bytes(b"")
    age(path, 10)  # its writer may be about to write
    with pytest.raises(LockedElsewhereError):
        LockFile.take(path)
    age(path, 21)
    LockFile.take(path).release()
    assert os.listdir(path.parent) == []


def slept(claim: LockFile) -> None:
    """Let it be a claim of a machine that was asleep for an hour."""
    claim._touched = (claim._touched[0] - 3600, claim._touched[1])


def test_a_process_that_was_silent_does_not_spoil_the_work_of_who_took_over(path: Path) -> None:
    claim = LockFile.take(path)
    slept(claim)
    claim.check()
    assert not claim.may_be_lost, "it was refreshed, so that nobody takes over for a while"
    slept(claim)
    leave(path, {**ELSEWHERE, "touched": True}, silent_for=0)
    with pytest.raises(LocalError, match=r"taken over .*x\.part"):
        claim.check()
    claim.release()
    assert json.loads(path.read_bytes())["host"] == "elsewhere.invalid"


def test_who_took_over_may_have_ended_already(path: Path) -> None:
    claim = LockFile.take(path)
    slept(claim)
    path.unlink()
    with pytest.raises(LocalError, match="taken over"):
        claim.check()
    claim.release()


@pytest.mark.skipif(sys.platform != "linux", reason="boot ids and PID namespaces are Linux's")
@pytest.mark.parametrize(
    "other",
    [{"boot": "another boot"}, {"pid_namespace": "pid:[1]"}, {"boot": "another boot", "pid_namespace": "pid:[1]"}],
    ids=["machine of the same name, or booted since", "container", "container on another machine"],
)
def test_a_process_that_cannot_be_seen_is_respected_though_its_host_has_our_name(
    path: Path, other: dict[str, Any]
) -> None:
    """Containers share a host name, and PIDs of one mean nothing in another."""
    ours = LockOwner.this_process()
    assert ours.boot is not None
    assert ours.pid_namespace is not None
    unseen = attrs.asdict(attrs.evolve(ours, pid=2**22 + 1, **other))
    leave(path, unseen, silent_for=STALE_AFTER - 30)
    with pytest.raises(LockedElsewhereError):
        LockFile.take(path)
    age(path, 31)
    LockFile.take(path).release()


def test_on_windows_no_process_is_asked_whether_it_runs() -> None:
    """Signal 0 does not test that there: a lock is judged by its age alone."""
    ours = LockOwner.this_process()
    assert ours.is_visible(platform="darwin")
    assert not ours.is_visible(platform="win32")


def test_a_lock_file_of_an_older_version_on_this_machine_is_judged_by_its_process(path: Path) -> None:
    leave(path, {"host": socket.gethostname(), "pid": os.getpid(), "started": None, "touched": True}, silent_for=1e6)
    with pytest.raises(LocalError, match="PID"):
        LockFile.take(path)
    leave(path, {"host": socket.gethostname(), "pid": 2**22 + 1, "started": None, "touched": True}, silent_for=0)
    LockFile.take(path).release()


def test_what_is_no_lock_file_and_stays_in_the_way_is_said(path: Path) -> None:
    path.symlink_to("nowhere")
    with pytest.raises(LocalError, match=r"x\.part\.lock"):
        LockFile.take(path)


def no_links(source: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("link", [os.link, no_links], ids=["", "no hard links, as on FAT"])
def test_a_lock_file_that_came_in_the_moment_of_the_takeover_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[[Path, Path], None]
) -> None:
    """Two wait for the same stale lock file; the one that looked first is the slower one."""
    monkeypatch.setattr(os, "link", link)
    leave(path, {**ELSEWHERE, "touched": True}, silent_for=STALE_AFTER + 1)
    rename = os.rename
    quicker: list[LockFile] = []

    def slow_rename(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        quicker.append(LockFile.take(path))
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow_rename)
    with pytest.raises(LocalError, match="this process"):
        LockFile.take(path)
    assert os.listdir(path.parent) == [path.name]
    quicker[0].release()
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff\xfe"])
def test_a_claim_that_is_just_being_written_is_respected(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LockedElsewhereError, match="Another process"):
        LockFile.take(path)
    assert path.read_bytes() == content


def test_a_full_disk_leaves_no_claim_behind(path: Path) -> None:
    # A limit of 0 bytes per file is as good as a full disk: the entry can be made, its content cannot.
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from connector.local.lock_file import LockFile\n"
        "from connector.errors import LocalError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    LockFile.take(Path(sys.argv[1]))\n"
        "except LocalError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("Could not write"), done.stderr
    assert not path.exists(), "it would keep every later run out"


def test_releasing_twice_is_no_error(path: Path) -> None:
    claim = LockFile.take(path)
    claim.release()
    claim.release()


def test_a_look_says_what_taking_would_and_takes_nothing(path: Path, holder: Holder) -> None:
    with pytest.raises(LocalError, match=f"PID {holder.process.pid}"):
        LockFile.check_free(path, "x")
    holder.end("release\n")
    LockFile.check_free(path, "x")
    assert not path.exists()
    leave(path, {**ELSEWHERE, "touched": True}, silent_for=0)
    with pytest.raises(NotReadyError, match="elsewhere"):
        LockFile.check_free(path, "x")
    age(path, STALE_AFTER + 1)
    LockFile.check_free(path, "x")
    assert path.exists()
