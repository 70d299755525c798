"""Progress tells the truth, read from a terminal as a person reads it (docs/reliability.md)."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable

import httpx
import pytest

from connector.crypt4gh.segments import SEGMENT_SIZE, sealed_size
from tests.reliability.conftest import Scripted
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals as Unix has them")

COUNT = 60
WIDTHS = pytest.mark.parametrize("width", [80, 120])
STATE = re.compile(
    r"^(?:(\d+) FAILED, )?(\d+)(?: of |/)(\d+) files, (.+?) of (at least )?([\d.]+ \w?B)(?: \((\d+) %\))?"
)
RETRY = re.compile(r"^Trying again in (\d+) s(?:, (\d+) files)?: (.+)")


def states(terminal: Terminal) -> list[re.Match[str]]:
    """The states of all files that could be seen, one after the other."""
    return [found for look in terminal.looks for line in look.lines if (found := STATE.match(line))]


def small_downloads(scripted: Scripted, *, seconds: float = 0.3) -> None:
    scripted.archive.package_type = "download"
    scripted.archive.latency["get"] = seconds
    for number in range(COUNT):
        scripted.archive.add_file(f"GHGAF{number:02}", bytes([number]) * (1000 + number))


def outage(begin: float, end: float) -> Callable[[httpx.Request], bool]:
    """Picks the requests from ``begin`` to ``end`` seconds after the first one."""
    first: list[float] = []

    def is_in_it(request: httpx.Request) -> bool:
        first.append(time.monotonic())
        return begin <= first[-1] - first[0] < end

    return is_in_it


def download(scripted: Scripted, width: int, *arguments: object, **options: object) -> Terminal:
    out = scripted.folder / "out"
    return Terminal(scripted.program, "download", "--output-dir", out, *arguments, width=width, **options)  # type: ignore[arg-type]


@WIDTHS
def test_forty_small_uploads_count_from_the_start(scripted: Scripted, width: int) -> None:
    scripted.archive.package_type = "upload"
    scripted.archive.latency["put"] = 0.3
    scripted.archive.window = 5
    names = [f"sample-{number:02}.fastq.gz" for number in range(COUNT)]
    for number, name in enumerate(names):
        (scripted.folder / name).write_bytes(b"x" * (1000 + number))
    total = sum(124 + sealed_size(1000 + number) for number in range(COUNT))
    terminal = Terminal(scripted.program, "upload", *names, width=width)
    assert terminal.finish() == 0
    seen = states(terminal)
    assert len(seen) > 5
    assert {(found[3], found[5], found[6]) for found in seen} == {("60", None, f"{total / 1000:.2f} kB")}
    shares = [int(found[7]) for found in seen]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    named = [look for look in terminal.looks if sum(line.startswith("  sample-") for line in look.lines) >= 2]
    assert named, "the newest files have their names"
    lines = terminal.text.splitlines()
    assert sum(": uploaded" in line for line in lines) == COUNT
    assert lines[-1] == "60 of 60 files uploaded."
    assert not any(STATE.match(line) or line.startswith("  sample-") for line in lines), "nothing of it is left behind"


@WIDTHS
def test_downloads_know_their_number_at_the_start_and_their_sizes_as_they_open(scripted: Scripted, width: int) -> None:
    small_downloads(scripted)
    scripted.archive.latency["object"] = 0.2
    terminal = download(scripted, width)
    assert terminal.finish() == 0
    seen = states(terminal)
    assert {found[3] for found in seen} == {"60"}
    unknown = [bool(found[5]) for found in seen]
    assert unknown[0]
    assert unknown == sorted(unknown, reverse=True), "at least, until all are known"
    assert all(found[7] is None for found in seen if found[5]), "no percent of what is not known"


@WIDTHS
def test_an_outage_can_be_read_with_its_seconds_and_stays_in_the_scrollback_once(
    scripted: Scripted, width: int
) -> None:
    small_downloads(scripted, seconds=0.05)
    scripted.archive.fail("get", 503, times=10**6, when=outage(0, 3), Retry_After="4")
    terminal = download(scripted, width)
    assert terminal.finish() == 0
    pauses = [(look, found) for look in terminal.looks for line in look.lines if (found := RETRY.match(line))]
    assert len({int(found[1]) for _, found in pauses} & {1, 2, 3, 4, 5}) >= 3, "it counts down"
    assert all("503" in " ".join(look.lines[look.lines.index(found[0]) :]) for look, found in pauses)
    assert max(int(found[2] or 1) for _, found in pauses) > 1, "how many files it concerns"
    text = " ".join(terminal.text.split())
    assert text.count("503") == 1
    assert re.search(r"GHGAF\d\d and \d+ more: http://[^ ]+ answered 503", text)


@WIDTHS
def test_a_failed_file_stays_in_the_denominator(scripted: Scripted, width: int) -> None:
    small_downloads(scripted, seconds=0.4)
    scripted.archive.fail("get", 400, times=100, when=lambda request: request.url.path.endswith("GHGAF03"))
    terminal = download(scripted, width)
    assert terminal.finish() in (4, 5)
    seen = states(terminal)
    assert any(found[1] == "1" for found in seen)
    assert {found[3] for found in seen} == {"60"}
    known = [found[6] for found in seen if not found[5]]
    assert len(set(known)) == 1, "its bytes stay in the sum"
    assert "99" in {found[7] for found in seen} or all(int(found[7] or 0) < 100 for found in seen)
    assert terminal.text.splitlines()[-1] == "59 of 60 files downloaded, 1 failed."


@WIDTHS
def test_bytes_of_an_earlier_run_are_done_from_the_start(scripted: Scripted, width: int) -> None:
    archive = scripted.archive
    archive.package_type = "download"
    archive.add_file("GHGAF1", os.urandom(20 * SEGMENT_SIZE))  # ten parts
    archive.fail("get", 400, times=100, when=lambda request: int(request.headers["range"][6:].split("-")[0]) > 900_000)
    assert scripted.download("--quiet").code in (4, 5)
    archive._failing.clear()
    archive.latency["get"] = 0.7
    terminal = download(scripted, width, "--max-concurrency", "1")
    assert terminal.finish() == 0
    shares = [int(found[7]) for found in states(terminal) if found[7]]
    assert 40 <= shares[0] < 100
    assert shares == sorted(shares), "what is kept is not taken back"
    moved = re.search(r"GHGAF1: downloaded, ([\d.]+) (kB|MB) in", terminal.text)
    assert moved is not None
    assert moved[2] == "kB", "only what was moved is said to be moved"


def test_parts_that_are_stored_already_are_done_from_the_start(scripted: Scripted) -> None:
    (scripted.folder / "a.bin").write_bytes(os.urandom(16_000_000))  # four parts
    scripted.archive.fail("put", 400, times=100, when=lambda request: request.url.params["partNumber"] == "3")
    assert scripted.upload("a.bin", "--quiet", "--max-concurrency", "1").code in (4, 5)
    assert len(scripted.archive.stored_parts) == 2
    scripted.archive._failing.clear()
    scripted.archive.latency["put"] = 1.5
    terminal = Terminal(scripted.program, "upload", "a.bin", "--max-concurrency", "1", width=80)
    assert terminal.finish() == 0
    assert scripted.archive.stored_parts[2:] == [3, 4]
    shares = [int(found[7]) for found in states(terminal) if int(found[7] or 0)]  # 0 until it is opened
    assert 65 <= shares[0] < 100, shares
    assert shares == sorted(shares), "what is kept is not taken back"


@WIDTHS
def test_all_at_once(scripted: Scripted, width: int) -> None:
    """Forty files, one of them resumed, one failing, and an outage in the middle."""
    archive = scripted.archive
    archive.package_type = "download"
    archive.add_file("GHGAF99", os.urandom(20 * SEGMENT_SIZE))
    archive.fail("get", 400, times=100, when=lambda request: int(request.headers["range"][6:].split("-")[0]) > 900_000)
    assert scripted.download("GHGAF99", "--quiet").code in (4, 5)
    archive._failing.clear()
    small_downloads(scripted, seconds=0.2)
    del archive.files["GHGAF39"]
    archive.fail("object", 404, times=100, when=lambda request: request.url.path.endswith("GHGAF03"))
    archive.fail("get", 503, times=10**6, when=outage(0.4, 2.9), Retry_After="2")
    terminal = download(scripted, width)
    assert terminal.finish() == 4
    seen = states(terminal)
    assert {found[3] for found in seen} == {"60"}
    assert any(found[1] for found in seen)
    assert any(RETRY.match(line) for look in terminal.looks for line in look.lines)
    lines = terminal.text.splitlines()
    assert sum(": downloaded" in line for line in lines) == 59
    assert lines[-1] == "59 of 60 files downloaded, 1 failed."
    assert " ".join(terminal.text.split()).count("answered 503") == 1


def test_an_interrupted_command_leaves_the_terminal_as_it_was(scripted: Scripted) -> None:
    small_downloads(scripted, seconds=20)
    terminal = download(scripted, 80)
    terminal.wait_until(lambda look: any(STATE.match(line) for line in look.lines))
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    lines = terminal.text.splitlines()
    assert lines[0].startswith("Stopping;"), lines
    assert any(line.startswith("Interrupted by SIGINT") for line in lines), lines
    assert not any(STATE.match(line) or line.startswith("  GHGAF") for line in lines), lines
    assert terminal.cursor[0] == 0


def test_a_window_that_becomes_narrow_is_followed(scripted: Scripted) -> None:
    small_downloads(scripted, seconds=300)
    scripted.program.settings.update(CONNECTOR_READ_TIMEOUT="600")  # type: ignore[attr-defined]
    terminal = download(scripted, 120)
    terminal.wait_until(lambda look: any(STATE.match(line) for line in look.lines))

    def written(since: int) -> list[str]:
        return re.split(r"\x1b\[\d*[A-K]|[\r\n]", bytes(terminal.raw[since:]).decode(errors="replace"))

    def all_that_is_written_is_narrow() -> bool:
        """Of what comes from now on, which may be what was written a while ago."""
        since = len(terminal.raw)
        wait_until(lambda: sum(bool(STATE.match(line)) for line in written(since)) > 3)
        return all(len(line) < 40 for line in written(since))

    assert not all_that_is_written_is_narrow()
    terminal.resize(40, 24)
    wait_until(all_that_is_written_is_narrow)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130


def test_a_simple_terminal_gets_one_line_without_escapes(scripted: Scripted) -> None:
    small_downloads(scripted, seconds=0.3)
    terminal = download(scripted, 80, term="dumb")
    assert terminal.finish() == 0
    assert b"\x1b" not in terminal.raw
    assert {found[3] for found in states(terminal)} == {"60"}
    assert not any(STATE.match(line) for line in terminal.text.splitlines())


def test_in_a_log_an_outage_is_one_line_not_one_for_each_part(scripted: Scripted) -> None:
    small_downloads(scripted, seconds=0.05)
    scripted.archive.fail("get", 503, times=10**6, when=outage(0, 4), Retry_After="1")
    scripted.program.settings.update(CONNECTOR_RETRIES="20", CONNECTOR_MAX_CONCURRENCY="16")  # type: ignore[attr-defined]
    done = scripted.program.run("download", "--output-dir", scripted.folder / "out")
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if "503" in line]
    assert len(said) == 1, said
    assert re.match(r"GHGAF\d\d and \d+ more: .* Trying again in", said[0])
    assert sum(": downloaded" in line for line in done.err.splitlines()) == COUNT
