from __future__ import annotations

import attrs

from connector import LocalError
from connector.pipeline.progress import FileProgress, ProgressReporter
from connector.transfer import Outcome
from tests.support.desk import HandClock


@attrs.frozen
class Value:
    size: int


def test_values_add_up_and_come_ten_times_a_second_at_most() -> None:
    clock = HandClock()
    seen: list[FileProgress] = []
    reporter = ProgressReporter(seen.append, clock)
    reporter.opened("a", 100)
    reporter.kept("a", 20)
    for _ in range(8):
        clock.now += 0.03
        reporter.progressed("a", 10)
    assert seen == [FileProgress("a", 0, 100), FileProgress("a", 60, 100), FileProgress("a", 100, 100)]
    reporter.progressed("a", -30)
    reporter.finished(Outcome("a", value=Value(72)))
    assert seen[3:] == [FileProgress("a", 100, 100, finished=True)]


def test_a_restarted_file_begins_again_and_a_failed_one_keeps_its_bytes() -> None:
    clock = HandClock()
    seen: list[FileProgress] = []
    reporter = ProgressReporter(seen.append, clock)
    for _ in range(2):
        reporter.opened("a", 100)
        reporter.progressed("a", 40)
    reporter.finished(Outcome("a", error=LocalError("The disk is full.")))
    assert seen == [FileProgress("a", 0, 100)] * 2 + [FileProgress("a", 40, 100, finished=True)]


def test_files_that_are_never_opened() -> None:
    seen: list[FileProgress] = []
    reporter = ProgressReporter(seen.append, HandClock())
    reporter.finished(Outcome("there", value=Value(7)))
    reporter.finished(Outcome("unreadable", error=LocalError("No.")))
    assert seen == [FileProgress("there", 7, 7, finished=True), FileProgress("unreadable", 0, 0, finished=True)]
