"""Starting servers for tests: what is told where that does not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from persistence.errors import InvalidValue, Rejected
from persistence.testing.raising import raises
from persistence.testing.servers import run_ceph
from persistence.testing.servers.processes import ServerFailed, find_program, running, wait_until


def test_a_server_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = "import sys; print('line 1'); print('no room'); sys.exit(3)"
    with running([sys.executable, "-c", code], tmp_path / "log") as process:
        process.wait()
        with pytest.raises(ServerFailed, match=r"(?s)ended with 3.*no room"):
            wait_until(lambda: True, process, tmp_path / "log", 60)


def test_a_server_that_does_not_answer_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with running([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log") as process:
        with pytest.raises(ServerFailed, match="did not answer"):
            wait_until(lambda: False, process, tmp_path / "log", 0.1)
    assert process.returncode is not None


def test_programs_are_found_beside_the_interpreter_and_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = find_program("pytest")
    assert beside is not None
    assert beside.is_file()
    shell = find_program("sh", "a-distribution-that-is-not-installed")
    assert shell is not None
    monkeypatch.setenv("PATH", "")
    assert find_program("sh") is None


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerFailed, match="radosgw"):
        with run_ceph(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def refuse(message: str) -> None:
    raise InvalidValue(message)


def test_errors_of_the_suites_have_a_message() -> None:
    with pytest.raises(AssertionError, match="message"), raises(InvalidValue):
        refuse("short")
    with pytest.raises(AssertionError, match="not raised"), raises(InvalidValue):
        pass
    with raises(Rejected) as raised:
        refuse("This cannot be stored.")
    assert raised.error.message == "This cannot be stored."
