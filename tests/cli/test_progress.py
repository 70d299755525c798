from __future__ import annotations

import io

import pytest

from connector.cli.console import Console
from connector.cli.progress import Meter, Progress, amount, span
from connector.errors import BrokenError
from tests.support.desk import HandClock


def make(*, terminal: bool, quiet: bool = False, width: int = 200) -> tuple[Progress, io.StringIO, HandClock]:
    err, clock = io.StringIO(), HandClock()
    console = Console(io.StringIO(), err, quiet=quiet)
    return Progress(console, terminal=terminal, clock=clock, width=lambda: width), err, clock


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (268_435_456, "268 MB"),
        (1_500_000_000, "1.50 GB"),
        (3e12, "3.00 TB"),
    ],
)
def test_amounts(size: float, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter(0.0)
    meter.open("a", 10_000_000_000, 0.0)
    for second in range(1, 101):
        meter.move("a", 1_000_000, float(second))
        assert meter.rate(float(second)) == pytest.approx(1_000_000)
    for second in range(101, 131):
        meter.move("a", 5_000_000, float(second))
        meter.rate(float(second))
    assert meter.rate(130.0) == pytest.approx(5_000_000)


def test_the_line_of_a_healthy_transfer() -> None:
    meter = Meter(0.0)
    meter.open("a", 100_000_000, 0.0)
    meter.open("b", 300_000_000, 0.0)
    meter.move("a", 100_000_000, 2.0)
    assert meter.close("a", True, 2.0) == (100_000_000, 2.0)
    assert meter.line(2.0) == "1/2 files, 100 MB of 400 MB (25 %), 50.0 MB/s, 0:06 left"


def test_bytes_of_a_failed_try_are_taken_back() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.move("a", 60, 1.0)
    meter.move("a", -60, 2.0)
    assert meter.moved == 0
    assert meter.rate(3.0) == 0.0


def test_what_a_failed_file_did_not_move_is_no_longer_expected() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.open("b", 100, 0.0)
    meter.move("a", 30, 1.0)
    meter.close("a", False, 1.0)
    assert meter.expected == 130
    assert meter.line(1.0).startswith("1 FAILED, 0/2 files")


def test_a_stall_is_said() -> None:
    meter = Meter(0.0)
    meter.open("a", 100, 0.0)
    meter.move("a", 1, 5.0)
    assert "MB/s" in meter.line(20.0)
    assert meter.line(30.0).endswith("nothing for 0:25")


def test_on_a_terminal_one_line_is_redrawn_and_makes_room() -> None:
    progress, err, clock = make(terminal=True)
    progress.opened("a", 1000)
    clock.now += 1
    progress.progressed("a", 500)
    progress.tick()
    progress.tick()
    assert "\n" not in err.getvalue()
    assert err.getvalue().count("\r\x1b[2K0/1 files, 500 B of 1.00 kB (50 %)") == 2
    progress._console.tell("something else")
    assert err.getvalue().endswith("\r\x1b[2Ksomething else\n")
    progress.clear()
    assert err.getvalue().endswith("something else\n")


def test_the_line_fits_the_terminal_and_carries_no_control_characters() -> None:
    progress, err, _ = make(terminal=True, width=60)
    progress.retried("evil\x1b[31m" + "x" * 100, BrokenError("Cut."), 1.5)
    progress.tick()
    drawn = err.getvalue().removeprefix("\r\x1b[2K")
    assert len(drawn) == 59
    assert "\x1b" not in drawn


def test_off_a_terminal_there_is_a_heartbeat_every_ten_seconds() -> None:
    progress, err, clock = make(terminal=False)
    progress.opened("a", 1_000_000)
    for _ in range(35):
        clock.now += 1
        progress.progressed("a", 1000)
        progress.tick()
    lines = err.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "0/1 files, 10.00 kB of 1.00 MB (1 %), 0.0 MB/s, 16:30 left"
    assert "\x1b" not in err.getvalue()


def test_off_a_terminal_waits_and_retries_are_lines() -> None:
    progress, err, _ = make(terminal=False)
    progress.waiting("F1", 20, "the archive stages the file")
    progress.retried("F1", BrokenError("The connection was cut."), 2.0)
    progress.retried("", BrokenError("The archive is down."), 1.0)
    assert err.getvalue().splitlines() == [
        "F1: waiting, the archive stages the file",
        "F1: The connection was cut. Trying again in 2.0 s.",
        "The archive is down. Trying again in 1.0 s.",
    ]


def test_off_a_terminal_the_same_is_not_said_every_second() -> None:
    progress, err, clock = make(terminal=False)
    for _ in range(25):
        progress.waiting("F1", 1, "the archive stages the file")
        clock.now += 1
    assert len(err.getvalue().splitlines()) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal: bool) -> None:
    progress, err, clock = make(terminal=terminal, quiet=True)
    progress.opened("a", 10)
    progress.waiting("a", 1, "staging")
    for _ in range(50):
        clock.now += 1
        progress.tick()
    assert err.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_more_memory_than_was_asked_for_is_told_as_it_would_be_asked_for(terminal: bool) -> None:
    progress, err, _ = make(terminal=terminal)
    progress.budget_raised("a", 256 * 1024**2, 549_819_704)
    [line] = err.getvalue().splitlines()
    assert line.startswith("a: one part takes 525MiB")
    assert "from 256MiB" in line
