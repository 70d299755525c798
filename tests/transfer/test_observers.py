"""An observer that raises costs no file its bytes, and one of an earlier version misses only the newer events."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio

from connector.errors import BrokenError, ConnectorError, LocalError, UsageError
from connector.parts import Part
from connector.transfer import GuardedObserver, Outcome, Progress, SilentObserver
from tests.support.scripted_transfers import Recorder, Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio


@attrs.define
class Raising(Recorder):
    """Raises in one kind of event of one file."""

    event: str = ""
    label: str = ""

    def _maybe(self, event: str, label: str) -> None:
        if (event, label) == (self.event, self.label):
            raise ZeroDivisionError(event)

    def opened(self, label: str, size: int) -> None:
        self._maybe("opened", label)

    def progressed(self, label: str, size: int) -> None:
        super().progressed(label, size)
        self._maybe("progressed", label)

    def retried(self, label: str, error: ConnectorError, delay: float) -> None:
        self._maybe("retried", label)

    def finished(self, outcome: Outcome[Any]) -> None:
        super().finished(outcome)
        self._maybe("finished", outcome.label)


@pytest.mark.parametrize("event", ["progressed", "retried", "finished"])
async def test_the_file_is_moved_and_its_outcome_is_the_error(autojump_clock: object, event: str) -> None:
    failed_once: list[int] = []

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        if not failed_once:
            failed_once.append(1)
            raise BrokenError("Cut.", advice=attrs.evolve(BrokenError("").advice, again=True))
        progress(part.size)

    observer = Raising(event=event, label="bad")
    bad, good = Scripted("bad", parts_of(3, 4), on_move=move), Scripted("good", parts_of(5))
    outcomes = await make_scheduler(1, observer=observer).run([bad, good])
    assert labels(outcomes) == [None, "good"]
    error = outcomes[0].error
    assert error is not None
    assert (error.exit_code, error.family) == (1, "error")
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert bad.moved == [1, 2]
    assert observer.through == {"bad": 7, "good": 5}
    assert [what[2:] for what in observer.events if what[1] == "finished"] == [
        ("bad", event == "finished"),
        ("good", True),
    ]


async def test_a_transfer_that_failed_keeps_its_own_error(autojump_clock: object) -> None:
    async def fail(*_: object) -> None:
        raise LocalError("Disk full.")

    bad = Scripted("bad", parts_of(1), on_finish=fail)
    (outcome,) = await make_scheduler(observer=Raising(event="progressed", label="bad")).run([bad])
    assert isinstance(outcome.error, LocalError)


async def test_an_event_of_no_file_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        GuardedObserver.of(Raising(event="retried", label="")).retried("", BrokenError("Cut."), 1.0)
    assert "ZeroDivisionError" in caplog.text


async def test_an_observer_need_not_know_the_newer_events() -> None:
    recorder = Recorder()
    assert not hasattr(recorder, "planned")
    guarded = GuardedObserver.of(recorder)
    guarded.planned([("a", 7), ("b", None)])
    guarded.kept("a", 3)
    assert guarded.checked(Outcome("a", 1)).ok

    told = []

    class Newer(SilentObserver):
        def kept(self, label: str, size: int) -> None:
            told.append((label, size))

    GuardedObserver.of(Newer()).kept("a", 3)
    assert told == [("a", 3)]


async def test_a_scheduler_whose_session_has_ended_says_so(autojump_clock: object) -> None:
    scheduler = make_scheduler()
    scheduler.close()
    with pytest.raises(UsageError, match="session has ended"):
        await scheduler.run([Scripted("a")])


async def test_what_runs_when_the_session_ends_is_closed_in_order(autojump_clock: object) -> None:
    scheduler = make_scheduler()
    transfer = Scripted("a", parts_of(*[1] * 100))
    ended: list[UsageError] = []

    async def run() -> None:
        try:
            await scheduler.run([transfer])
        except UsageError as error:
            ended.append(error)

    with trio.fail_after(180):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(5.5)
            scheduler.close()
    assert len(ended) == 1
    assert transfer.closes == 1
    assert trio.current_time() < 7
