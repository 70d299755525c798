"""What each signal does, decided without signals and without ending this process. Real ones are in `test_run`."""

from __future__ import annotations

import signal
import threading

import pytest
import trio

from connector.cli.interruption import Interrupted, SignalHandler, handle_signals
from tests.support.desk import HandClock


class Handler(SignalHandler):
    """One that notes with which codes the process would have been ended."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.time = HandClock()
        super().__init__(has_alarm=False, end_at_once=self.ended.append, clock=self.time)


@pytest.fixture
def handler() -> Handler:
    return Handler()


def test_the_first_is_raised_and_a_later_one_ends_the_process(handler: Handler) -> None:
    with pytest.raises(Interrupted) as caught:
        handler(signal.SIGINT, None)
    assert caught.value.exit_code == 130
    assert handler.asked
    handler.time.now += 0.1
    handler(signal.SIGTERM, None)
    assert handler.ended == [], "timeout(1) sends one twice"
    handler.time.now += 0.2
    handler(signal.SIGTERM, None)
    assert handler.ended == [143]


def test_what_the_system_repeats_by_itself_ends_nothing(handler: Handler) -> None:
    with pytest.raises(Interrupted):
        handler(signal.SIGXCPU, None)
    handler.time.now += 60
    handler(signal.SIGXCPU, None)
    assert handler.ended == []


def test_one_that_does_not_stop_in_time_is_ended_with_the_code_of_the_request(handler: Handler) -> None:
    handler.too_late(signal.SIGALRM, None)
    assert handler.ended == [], "nothing was asked of it"
    handler.end_in(5.0, Interrupted("The time is over.", 75))
    handler.too_late(signal.SIGALRM, None)
    with pytest.raises(Interrupted):
        handler(signal.SIGTERM, None)
    handler.too_late(signal.SIGALRM, None)
    assert handler.ended == [75, 143], "a signal comes before the limit"


def test_a_request_while_a_job_runs_cancels_it(handler: Handler) -> None:
    told: list[Interrupted] = []

    async def job() -> None:
        handler(signal.SIGTERM, None)
        await trio.sleep_forever()

    with pytest.raises(Interrupted, match="SIGTERM"):
        handler.run(job, on_request=told.append)
    assert [request.exit_code for request in told] == [143]


def test_one_that_comes_when_the_job_is_done_stops_nothing_any_more(handler: Handler) -> None:
    async def job() -> str:
        handler(signal.SIGTERM, None)
        return "done"

    assert handler.run(job) == "done"
    assert handler.asked


def test_the_process_is_ended_also_where_its_last_words_fail(handler: Handler) -> None:
    def fail() -> None:
        raise OSError("no room")

    async def job() -> None:
        handler(signal.SIGTERM, None)
        handler.time.now += 1
        handler(signal.SIGTERM, None)

    with pytest.raises(OSError, match="no room"):
        handler.run(job, on_force_quit=fail)
    assert handler.ended == [143]


def test_a_request_from_before_ends_a_job_before_it_begins(handler: Handler) -> None:
    with pytest.raises(Interrupted):
        handler(signal.SIGTERM, None)

    async def job() -> None:
        raise AssertionError("it has begun")

    with pytest.raises(Interrupted):
        handler.run(job)


def test_within_a_block_that_handles_signals_it_is_the_same_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    with handle_signals() as outer:
        with handle_signals() as inner:
            assert inner is outer
        assert signal.getsignal(signal.SIGINT) is outer
    assert signal.getsignal(signal.SIGINT) is before


def test_beside_the_main_thread_nothing_is_handled() -> None:
    seen: list[object] = []

    def work() -> None:
        with handle_signals() as handler:
            seen.append(signal.getsignal(signal.SIGINT) is handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
