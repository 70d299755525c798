"""What is written to which kind of terminal; a terminal emulator says what can be seen then."""

from __future__ import annotations

import io
import os

import pyte
import pytest

from connector.cli.console import Console
from connector.cli.progress import Display, Progress, display_of
from connector.errors import BrokenError, RetryPolicy
from connector.transfer.reporting import Outcome
from tests.support.desk import HandClock


class Scene:
    """A progress on a terminal of this size."""

    def __init__(self, display: Display, *, quiet: bool = False, width: int = 80, height: int = 24) -> None:
        self.err, self.clock = io.StringIO(), HandClock()
        self.console = Console(io.StringIO(), self.err, quiet=quiet)
        self.size = os.terminal_size((width, height))
        self.progress = Progress(self.console, display=display, clock=self.clock, size=lambda: self.size)

    def tick(self, seconds: float = 0.2) -> None:
        self.clock.now += seconds
        self.progress.tick()

    @property
    def screen(self) -> pyte.HistoryScreen:
        screen = pyte.HistoryScreen(self.size.columns, self.size.lines, history=1000)
        stream = pyte.Stream(screen)
        stream.feed(self.err.getvalue().replace("\r\n", "\n").replace("\n", "\r\n"))
        return screen

    @property
    def seen(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


@pytest.mark.parametrize(
    ("terminal", "term", "display"),
    [
        (False, "xterm", "log"),
        (True, "xterm-256color", "screen"),
        (True, "screen.xterm", "screen"),
        (True, "dumb", "line"),
        (True, "", "line"),
        (True, "something-new", "line"),
    ],
)
def test_what_a_terminal_can_do_is_known_by_its_name(terminal: bool, term: str, display: Display) -> None:
    assert display_of(terminal, {"TERM": term}, platform="linux") == display


def test_windows_terminals_are_known_by_their_session() -> None:
    assert display_of(True, {"WT_SESSION": "1"}, platform="win32") == "screen"
    assert display_of(True, {"TERM": "xterm"}, platform="win32") == "line"
    assert display_of(False, {"WT_SESSION": "1"}, platform="win32") == "log"


def test_several_lines_are_redrawn_and_make_room_for_others() -> None:
    scene = Scene("screen")
    scene.progress.planned([("a.bam", 1000), ("b.bam", 1000), ("c.bam", 2000)])
    scene.progress.opened("a.bam", 1000)
    scene.progress.opened("b.bam", 1000)
    scene.tick()
    scene.progress.progressed("b.bam", 500)
    scene.tick()
    assert scene.seen[0].startswith("0 of 3 files, 500 B of 4.00 kB (12 %), ")
    assert scene.seen[1:] == ["  b.bam   50 %  of 1.00 kB", "  a.bam    0 %  of 1.00 kB"]
    scene.console.info("something else")
    assert scene.seen == ["something else"]
    scene.tick()
    assert len(scene.seen) == 4
    scene.progress.close()
    assert scene.seen == ["something else"]
    assert (scene.screen.cursor.x, scene.screen.cursor.y) == (0, 1)


def test_a_pause_is_said_once_and_seen_with_its_seconds_as_long_as_it_lasts() -> None:
    scene = Scene("screen")
    scene.progress.planned([("a.bam", 1000), ("b.bam", 1000)])
    for name in ("a.bam", "b.bam"):
        scene.progress.opened(name, 1000)
        scene.progress.retried(name, BrokenError(f"Part 3 of {name} was refused."), 12.0)
    scene.tick(0.5)
    said = "a.bam and 1 more: Part 3 of b.bam was refused. Trying again in 12.0 s."
    assert scene.seen[0] == said
    assert "Trying again in 12 s, 2 files: Part 3 of b.bam was refused." in scene.seen
    scene.progress.progressed("b.bam", 10)  # another part: that one pauses all the same
    for _ in range(46):
        scene.tick(0.1)
    assert "Trying again in 7 s, 2 files: Part 3 of b.bam was refused." in scene.seen
    for _ in range(90):
        scene.tick(0.1)
    assert not any(line.startswith("Trying") for line in scene.seen)
    assert scene.seen.count(said) == 1


def test_a_narrow_low_terminal_is_not_left_behind_by_what_is_drawn() -> None:
    scene = Scene("screen", width=30, height=4)
    scene.progress.planned([(f"{number}" * 60, 10) for number in range(9)])
    for number in range(9):
        scene.progress.opened(f"{number}" * 60, 10)
    scene.progress.retried("", BrokenError("x" * 500), 100.0)
    for _ in range(20):
        scene.tick()
    scene.progress.close()
    text = [*("".join(line[x].data for x in range(30)) for line in scene.screen.history.top), *scene.seen]
    assert sum("0 of 9 files" in line for line in text) == 0


def test_wide_names_and_control_characters_do_no_harm() -> None:
    scene = Scene("screen", width=40)
    scene.progress.planned([("evil\x1b[31m\n", 10), ("漢" * 40, 10)])
    scene.progress.opened("evil\x1b[31m\n", 10)
    scene.progress.opened("漢" * 40, 10)
    for _ in range(3):
        scene.tick()
    assert len([line for line in scene.seen if "of 10 B" in line]) == 2
    assert any("evil\\x1b[31m\\x0a" in line for line in scene.seen)
    assert "\x1b[31m" not in scene.err.getvalue()


def test_after_a_stop_others_lines_are_left_alone() -> None:
    scene = Scene("screen")
    scene.progress.planned([("a", 10), ("b", 10)])
    scene.progress.opened("a", 10)
    scene.progress.opened("b", 10)
    scene.tick()
    scene.err.write("\r\n[1]+  Stopped\r\n$ fg\r\nconnector upload\r\n")
    scene.tick(60)
    assert scene.seen[3:6] == ["[1]+  Stopped", "$ fg", "connector upload"]


def test_a_simple_terminal_gets_one_line_without_escapes() -> None:
    scene = Scene("line", width=60)
    scene.progress.planned([("a", 1000), ("b", 1000)])
    scene.progress.opened("a", 1000)
    scene.tick()
    scene.progress.retried("a", BrokenError("The archive is down."), 3.0)
    scene.tick(0.5)
    assert scene.seen == [
        "a: The archive is down. Trying again in 3.0 s.",
        "Trying again in 2 s: The archive is down.",
    ]
    for _ in range(30):
        scene.tick()
    assert scene.seen[1].startswith("0 of 2 files, 0 B of 2.00 kB (0 %)")
    scene.progress.close()
    assert scene.seen == ["a: The archive is down. Trying again in 3.0 s."]
    assert "\x1b" not in scene.err.getvalue()
    assert "\n" not in scene.err.getvalue().removeprefix("\r").split("s.\n", 1)[1]


def test_off_a_terminal_there_is_a_heartbeat_every_ten_seconds() -> None:
    scene = Scene("log")
    scene.progress.planned([("a", 1_000_000), ("b", None)])
    scene.progress.opened("a", 1_000_000)
    for _ in range(35):
        scene.progress.progressed("a", 1000)
        scene.tick(1)
    assert len(scene.lines) == 3
    assert scene.lines[0] == "0 of 2 files, 10.00 kB of at least 1.00 MB, 0.0 MB/s, at least 16:30 left"
    assert "\x1b" not in scene.err.getvalue()


def test_off_a_terminal_waits_are_lines_unless_they_are_over_at_once() -> None:
    scene = Scene("log")
    scene.progress.waiting("F1", 20, "The archive stages the file.")
    scene.tick(1)
    scene.progress.waiting("F2", 20, "The archive checks the file.")
    scene.clock.now += 0.9  # no tick comes between
    scene.progress.finished(Outcome("F2"))
    scene.progress.close()
    assert scene.lines == ["F1: waiting. The archive stages the file."]


def test_off_a_terminal_retries_are_lines() -> None:
    scene = Scene("log")
    scene.progress.retried("F1", BrokenError("The connection was cut."), 2.0)
    scene.progress.retried("", BrokenError("The archive is down."), 1.0)
    scene.progress.retried("F2", BrokenError("Lost.", advice=RetryPolicy(again=False, restart="lost")), 0.0)
    scene.console.info("F3: uploaded")
    scene.progress.finished(Outcome("F1", error=BrokenError("It broke.")))
    scene.console.info("F1: The connection was cut.")
    assert scene.lines == [
        "F3: uploaded",
        "F1: The connection was cut. Trying again in 2.0 s.",
        "The archive is down. Trying again in 1.0 s.",
        "F2: Lost. Starting again.",
        "F1: The connection was cut.",
    ]


def test_off_a_terminal_an_outage_is_one_line_a_minute() -> None:
    scene = Scene("log")
    for second in range(150):
        for part in range(16):
            scene.progress.retried(f"f{part}", BrokenError(f"Part {part} of f{part} failed."), 2.0)
        if second % 10 == 0:
            scene.progress.progressed("f1", 1)
        scene.tick(1)
    said = [line for line in scene.lines if "Trying again" in line]
    assert len(said) == 3
    assert said[0] == "f0 and 15 more: Part 15 of f15 failed. Trying again in 2.0 s."
    assert said[1].endswith("(960 times in the last minute.)")


@pytest.mark.parametrize("display", ["log", "line", "screen"])
def test_quiet_is_quiet(display: Display) -> None:
    scene = Scene(display, quiet=True)
    scene.progress.opened("a", 10)
    scene.progress.waiting("a", 1, "staging")
    for _ in range(50):
        scene.tick(1)
    scene.progress.budget_raised("a", 1, 2)
    scene.progress.close()
    assert scene.err.getvalue() == ""


def test_a_budget_that_grew_is_said() -> None:
    scene = Scene("log")
    scene.progress.budget_raised("a", 256 * 1024**2, 549_819_704)
    assert "a: one part takes 525MiB" in scene.lines[0]
