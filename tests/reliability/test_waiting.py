"""``upload --wait``: until the archive has checked each file, or says why it refuses one."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.conftest import Scripted
from tests.support.program import finish
from tests.support.terminal import Terminal


@pytest.fixture
def files(scripted: Scripted) -> list[str]:
    for name in ("a.bin", "b.bin"):
        (scripted.folder / name).write_bytes(name.encode() * 1000)
    return ["a.bin", "b.bin"]


def states(scripted: Scripted) -> dict[str, str]:
    return {upload.alias: upload.state for upload in scripted.archive.uploads.values()}


def test_it_ends_when_all_files_are_checked(scripted: Scripted, files: list[str]) -> None:
    scripted.archive.interrogates_at = 3  # two waits: a log tells of one that lasts longer than a second
    done = scripted.upload(*files, "--wait", "--json")
    assert done.code == 0, done.err
    assert set(states(scripted).values()) == {"interrogated"}
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert sorted((row["name"], row.get("state")) for row in rows if "state" in row) == [
        ("a.bin", "interrogated"),
        ("b.bin", "interrogated"),
    ]
    assert "not checked" in done.err
    assert scripted.archive.counts["list"] == 3, "one listing for all files at a time"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals as Unix has them")
def test_the_terminal_says_what_is_waited_for(scripted: Scripted, files: list[str]) -> None:
    scripted.archive.package_type = "upload"
    terminal = Terminal(scripted.program, "upload", *files, "--wait", width=80)
    look = terminal.wait_until(lambda look: any(line.startswith("Waiting") for line in look.lines))
    assert "0 of 2 files" in look.lines
    seen = " ".join(look.lines)
    assert "a.bin (inbox), b.bin (inbox)" in seen
    assert "MB/s" not in seen.partition("0 of 2 files")[2], "no bytes are moved"
    scripted.archive.interrogates_at = 0
    assert terminal.finish() == 0
    assert "2 of 2" in terminal.text


def test_a_refused_file_is_exit_code_6_with_the_reason(scripted: Scripted, files: list[str]) -> None:
    scripted.archive.interrogates_at = 1
    scripted.archive.refuses["b.bin"] = "The content is not what was announced"
    done = scripted.upload(*files, "--wait", "--json")
    assert done.code == 6
    assert "b.bin has failed" in done.err
    failed = [row for row in map(json.loads, done.out.splitlines()) if not row["ok"]]
    assert [(row["name"], row["error"]["exit_code"]) for row in failed] == [("b.bin", 6)]
    # What the sentence says to do helps.
    scripted.archive.refuses.clear()
    again = scripted.upload(*files, "--wait")
    assert again.code == 0, again.err
    assert states(scripted) == {"a.bin": "interrogated", "b.bin": "interrogated"}


def test_a_wait_that_times_out_goes_on_with_the_same_command(scripted: Scripted, files: list[str]) -> None:
    began = time.monotonic()
    done = scripted.upload(*files, "--wait", "--wait-timeout", "1s")
    assert done.code == 5
    assert time.monotonic() - began < 60
    assert "inbox" in done.err
    assert set(states(scripted).values()) == {"inbox"}, "what is uploaded stays"
    puts = scripted.archive.counts["put"]
    scripted.archive.interrogates_at = 0
    again = scripted.upload(*files, "--wait", "--wait-timeout", "1h")
    assert again.code == 0, again.err
    assert scripted.archive.counts["put"] == puts, "and is not sent again"


def test_an_interrupted_wait_goes_on_with_the_same_command(scripted: Scripted, files: list[str]) -> None:
    scripted.archive.package_type = "upload"
    process = scripted.program.start("upload", *files, "--wait")
    while not scripted.archive.counts["list"]:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 143
    assert "same command" in done.err
    assert set(states(scripted).values()) == {"inbox"}
    scripted.archive.interrogates_at = 0
    again = scripted.upload(*files, "--wait")
    assert again.code == 0, again.err


def test_an_archive_that_lists_nothing_cannot_be_asked(scripted: Scripted, files: list[str]) -> None:
    scripted.archive.fail("list", 401, {"detail": "Invalid"}, times=1000)
    done = scripted.upload(*files, "--wait")
    assert done.code == 4
    assert "Leave out --wait." in done.err
    assert set(states(scripted).values()) == {"inbox"}
    assert scripted.upload(*files).code == 0, "the hint helps"


@pytest.mark.parametrize(
    "options",
    [["--wait", "--wait-timeout", "soon"], ["--wait", "--wait-timeout", "0s"], ["--wait-timeout", "90s"]],
)
def test_nonsense_is_refused_before_anything_is_sent(
    scripted: Scripted, files: list[str], options: list[str], tmp_path: Path
) -> None:
    done = scripted.upload(*files, *options)
    assert done.code == 2
    assert "--wait-timeout" in done.err
    assert not scripted.archive.counts
