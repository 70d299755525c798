"""Two processes, one target: the second one is told, whatever locks the file system has."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import LocalError
from connector.local.claim import Claim

HOLD = """
import sys
from pathlib import Path
from connector.local.claim import Claim
from connector.errors import LocalError
try:
    claim = Claim.take(Path(sys.argv[1]))
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
        self.process.communicate(last_word, timeout=10)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.part.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    holder = Holder(path)
    yield holder
    if holder.process.poll() is None:
        holder.kill()


def test_the_second_process_is_refused(path, holder):
    assert holder.said == "held"
    with pytest.raises(LocalError, match=r"Another process is working on .*x\.part\.") as caught:
        Claim.take(path)
    assert str(path) in caught.value.hint
    assert caught.value.exit_code == 3
    holder.end("release\n")
    Claim.take(path).release()
    assert not path.exists()


def test_of_many_processes_exactly_one_gets_it(path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.stdout.readline().split(":")[0].strip() for process in processes]  # type: ignore[union-attr]
    for process in processes:
        process.communicate(timeout=10)
    assert sorted(said) == ["held", "refused", "refused", "refused"]


def test_the_claim_of_a_killed_process_is_taken_over(path, holder):
    holder.kill()
    assert path.exists()
    claim = Claim.take(path)
    assert json.loads(path.read_bytes())["pid"] == os.getpid()
    claim.release()
    assert os.listdir(path.parent) == [], "nothing is left of the takeover either"


def test_a_later_process_with_the_same_number_does_not_hold_it(path):
    with_our_number = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}
    path.write_text(json.dumps(with_our_number))
    Claim.take(path).release()


def test_the_claim_of_another_machine_is_respected(path):
    path.write_text(json.dumps({"host": "elsewhere.invalid", "pid": 2**22 + 1, "started": "1"}))
    with pytest.raises(LocalError, match="Another process"):
        Claim.take(path)
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff\xfe"])
def test_a_claim_that_is_just_being_written_is_respected(path, content):
    path.write_bytes(content)
    with pytest.raises(LocalError, match="Another process"):
        Claim.take(path)
    assert path.read_bytes() == content


def test_a_full_disk_leaves_no_claim_behind(path):
    # A limit of 0 bytes per file is as good as a full disk: the entry can be made, its content cannot.
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from connector.local.claim import Claim\n"
        "from connector.errors import LocalError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    Claim.take(Path(sys.argv[1]))\n"
        "except LocalError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("Could not write"), done.stderr
    assert not path.exists(), "it would keep every later run out"


def test_releasing_twice_is_no_error(path):
    claim = Claim.take(path)
    claim.release()
    claim.release()
