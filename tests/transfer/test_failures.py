from __future__ import annotations

import ctypes
from collections import Counter
from typing import Any

import pytest
import trio

from connector.errors import NO_RETRY, RENEW, RETRY, BrokenError, ConnectorError, LocalError, RetryPolicy
from connector.parts import Part
from connector.transfer import OverloadedError, Progress
from connector.transfer.limit import ConcurrencyLimit
from tests.support.scripted_transfers import Move, Recorder, Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio


def failing(number: int, error: ConnectorError, *, times: int = 10**6, after: float = 1.0) -> Move:
    """A move whose part ``number`` fails ``times`` times, each after ``after`` seconds."""
    tries: Counter[str] = Counter()

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        progress(part.size // 2)
        await trio.sleep(after)
        if part.number == number and tries[transfer.label] < times:
            tries[transfer.label] += 1
            raise error
        progress(part.size - part.size // 2)

    return move


def times_of(transfer: Scripted, what: str) -> list[float]:
    return [at for at, _, step in transfer.log if step == what]


@pytest.mark.parametrize("step", ["open", "move", "finish", "close"])
async def test_a_transfer_that_fails_in_any_step_fails_alone(autojump_clock: object, step: str) -> None:
    error = LocalError("Disk full.")

    async def fail(*_: object) -> None:
        raise error

    bad = Scripted("bad", parts_of(1, 1), **{f"on_{step}": fail})  # type: ignore[arg-type]
    recorder = Recorder()
    outcomes = await make_scheduler(2, observer=recorder).run([Scripted("a", parts_of(1)), bad, Scripted("b")])
    assert labels(outcomes) == ["a", None, "b"]
    assert outcomes[1].error is error
    assert bad.closes == 1
    assert ("finish" in dict.fromkeys(what for _, _, what in bad.log)) == (step in ("finish", "close"))
    assert {event[2]: event[3] for event in recorder.events} == {"a": True, "bad": False, "b": True}


async def test_a_transfer_without_parts_that_can_be_counted_fails_alone(autojump_clock: object) -> None:
    parts: Any = None  # what an `open` returns that has no `return`
    outcomes = await make_scheduler().run([Scripted("bad", parts), Scripted("good", parts_of(1))])
    assert labels(outcomes) == [None, "good"]


async def test_an_error_of_close_does_not_hide_the_first_one(autojump_clock: object) -> None:
    async def fail_to_close(transfer: Scripted) -> None:
        raise LocalError("second")

    one = Scripted("a", parts_of(1), on_move=failing(1, LocalError("first")), on_close=fail_to_close)
    (outcome,) = await make_scheduler().run([one])
    assert outcome.error is not None
    assert outcome.error.message == "first"


async def test_the_other_parts_of_a_failed_transfer_are_cancelled_and_no_more_begun(autojump_clock: object) -> None:
    cancelled = []

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        if part.number == 2:
            await trio.sleep(1)
            raise BrokenError("Gone.")
        try:
            await trio.sleep(50)
        except trio.Cancelled:
            cancelled.append(part.number)
            raise

    bad, good = Scripted("bad", parts_of(*[1] * 9), on_move=move), Scripted("good", parts_of(1, 1))
    outcomes = await make_scheduler(3).run([bad, good])
    assert labels(outcomes) == [None, "good"]
    assert sorted(cancelled) == [1, 3]
    assert [what for _, _, what in bad.log] == ["open", "move 1", "move 2", "move 3", "close"]
    assert trio.current_time() == 2.0  # the places were free for the other at once


async def test_of_two_failing_parts_the_first_error_counts(autojump_clock: object) -> None:
    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        try:
            await trio.sleep(part.number)
        except trio.Cancelled:
            raise BrokenError("on the way out") from None
        raise BrokenError(f"part {part.number}")

    (outcome,) = await make_scheduler().run([Scripted("a", parts_of(1, 1, 1), on_move=move)])
    assert outcome.error is not None
    assert outcome.error.message == "part 1"


@pytest.mark.parametrize("step", ["prepare", "open", "move", "finish", "close"])
async def test_a_bug_in_any_step_is_the_outcome_of_its_file_alone(autojump_clock: object, step: str) -> None:
    async def bug(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    bad = Scripted("bad", parts_of(1, 1), **{f"on_{step}": bug})  # type: ignore[arg-type]
    recorder = Recorder()
    outcomes = await make_scheduler(2, observer=recorder).run([Scripted("a", parts_of(1)), bad, Scripted("b")])
    assert labels(outcomes) == ["a", None, "b"]
    error = outcomes[1].error
    assert type(error) is ConnectorError
    assert (error.exit_code, error.family) == (1, "error")
    assert "ZeroDivisionError" in error.message
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert bad.closes == 1
    assert {event[2]: event[3] for event in recorder.events} == {"a": True, "bad": False, "b": True}


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(28, "No space left on device", "/data/x"), LocalError),
        (ConnectionResetError(104, "Connection reset by peer"), BrokenError),
        (MemoryError(), LocalError),
        (ExceptionGroup("one", [ExceptionGroup("inner", [LocalError("Disk full.")])]), LocalError),
        (ExceptionGroup("two", [LocalError("Disk full."), KeyError("x")]), ConnectorError),
        (ExceptionGroup("two", [LocalError("Disk full."), BrokenError("Cut.")]), LocalError),
    ],
    ids=repr,
)
async def test_what_else_is_raised_gets_its_family(
    autojump_clock: object, raised: Exception, kind: type[ConnectorError]
) -> None:
    async def fail(*_: object) -> None:
        raise raised

    bad = Scripted("bad", parts_of(1), on_move=fail)
    outcomes = await make_scheduler().run([bad, Scripted("good", parts_of(1))])
    assert labels(outcomes) == [None, "good"]
    assert type(outcomes[0].error) is kind


async def test_a_bug_on_the_way_out_does_not_stop_a_cancellation(autojump_clock: object) -> None:
    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError

    transfers = [Scripted("a", parts_of(1), on_move=move), Scripted("b", parts_of(1))]
    with trio.move_on_after(5) as scope:
        await make_scheduler().run(transfers)
    assert scope.cancelled_caught
    assert [transfer.closes for transfer in transfers] == [1, 1]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_of_a_program_ends_the_run(
    autojump_clock: object, exception: type[BaseException]
) -> None:
    async def stop(*_: object) -> None:
        raise exception

    transfers = [Scripted("a", parts_of(1, 1, 1)), Scripted("b", parts_of(1), on_move=stop)]
    with pytest.RaisesGroup(exception, flatten_subgroups=True):
        await make_scheduler().run(transfers)
    assert [transfer.closes for transfer in transfers] == [1, 1]


async def test_memory_that_a_bug_does_not_let_go_of_is_not_waited_for(autojump_clock: object) -> None:
    held = []

    async def keep(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        held.append((ctypes.c_char * 1).from_buffer(buffer))
        raise ZeroDivisionError

    transfers = [Scripted("bad", parts_of(80_000), on_move=keep), Scripted("good", parts_of(80_000, 80_000))]
    with trio.fail_after(180):
        outcomes = await make_scheduler(1, budget=100_000).run(transfers)
    assert labels(outcomes) == [None, "good"]


# Tries -------------------------------------------------------------------------------------------------------------


async def test_a_part_is_tried_again_with_growing_waits_while_others_go_on(autojump_clock: object) -> None:
    one = Scripted("a", parts_of(10, 10), on_move=failing(1, BrokenError("Cut.", advice=RETRY), times=3))
    recorder = Recorder()
    assert labels(await make_scheduler(2, observer=recorder).run([one])) == ["a"]
    assert times_of(one, "move 1") == [0.0, 2.0, 5.0, 10.0]
    assert times_of(one, "moved 2") == [1.0]
    assert [event for event in recorder.events if event[1] == "retried"] == [
        (1.0, "retried", "a", 1.0),
        (3.0, "retried", "a", 2.0),
        (6.0, "retried", "a", 4.0),
    ]
    assert recorder.through == {"a": 20}  # what failed half-way was taken back


async def test_retry_after_is_kept_and_spread(autojump_clock: object) -> None:
    busy = OverloadedError("Slow down.", advice=RetryPolicy(again=True, after=7.5))
    one = Scripted("a", parts_of(10), on_move=failing(1, busy, times=2))
    assert labels(await make_scheduler().run([one])) == ["a"]
    assert times_of(one, "move 1") == [0.0, 1 + 7.5 * 1.5, 2 * (1 + 7.5 * 1.5)]


async def test_a_lease_that_ran_out_is_renewed_at_once_but_only_once(autojump_clock: object) -> None:
    one = Scripted("a", parts_of(10), on_move=failing(1, BrokenError("Expired.", advice=RENEW), times=3))
    assert labels(await make_scheduler().run([one])) == ["a"]
    # At once; then it was not the age of the lease, so it waits as for anything else: 2 s, 4 s.
    assert times_of(one, "move 1") == [0.0, 1.0, 4.0, 9.0]


async def test_opening_and_nothing_else_besides_parts_is_tried_again(autojump_clock: object) -> None:
    tries = 0

    async def fail_twice(transfer: Scripted) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise BrokenError("Not yet.", advice=RetryPolicy(again=True, after=3.0))

    one = Scripted("a", parts_of(1), on_open=fail_twice)
    recorder = Recorder()
    assert labels(await make_scheduler(observer=recorder).run([one])) == ["a"]
    assert times_of(one, "open") == [0.0, 4.5, 9.0]
    assert one.closes == 1
    assert recorder.events[0] == (0.0, "retried", "a", 4.5)


async def test_tries_come_to_an_end(autojump_clock: object) -> None:
    error = BrokenError("Cut.", advice=RETRY)
    one = Scripted("a", parts_of(10), on_move=failing(1, error, after=0))
    (outcome,) = await make_scheduler(attempts=3).run([one])
    assert isinstance(outcome.error, BrokenError)
    assert (outcome.error.message, outcome.error.advice) == ("Cut.", NO_RETRY)
    assert error.advice == RETRY, "others may hold it"
    assert times_of(one, "move 1") == [0.0, 1.0, 3.0]


async def test_a_wait_for_one_transfer_is_no_wait_for_the_others(autojump_clock: object) -> None:
    waits = OverloadedError("Slow down.", advice=RetryPolicy(again=True, after=100.0))
    slow = Scripted("slow", parts_of(1), on_move=failing(1, waits, times=1))
    others = [Scripted(str(n), parts_of(1, 1)) for n in range(3)]
    await make_scheduler(2).run([slow, *others])
    assert [transfer.log[-1][0] for transfer in others] == [2.0, 4.0, 6.0]
    assert trio.current_time() == 2.0 + 100.0 * 1.5


async def test_the_limit_hears_of_overload_and_of_nothing_else(autojump_clock: object) -> None:
    for error, at_last in ((BrokenError("Cut.", advice=RETRY), 8), (OverloadedError("", advice=RETRY), 5)):
        limit = ConcurrencyLimit(minimum=1, maximum=8, limit=8)
        await make_scheduler(limit).run([Scripted("a", parts_of(1), on_move=failing(1, error, times=1))])
        assert limit.limit == at_last


async def test_fewer_parts_move_after_an_overload(autojump_clock: object) -> None:
    moving: list[int] = []

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(1)
        if part.number == 1 and trio.current_time() == 1.0:
            raise OverloadedError("Busy.", advice=RetryPolicy(again=True, after=0.5))
        moving.append(transfer.moving)

    limit = ConcurrencyLimit(minimum=1, maximum=8, limit=8, backoff=0.5)
    one = Scripted("a", parts_of(*[1] * 60), on_move=move)
    assert labels(await make_scheduler(limit).run([one])) == ["a"]
    assert one.most_moving == 8
    assert max(moving[16:]) == 4


async def test_a_part_that_the_system_has_no_memory_for_fails_its_transfer_alone(autojump_clock: object) -> None:
    transfers = [Scripted("big", parts_of(1 << 60)), Scripted("small", parts_of(1))]
    outcomes = await make_scheduler(budget=100_000).run(transfers)
    assert labels(outcomes) == [None, "small"]
    assert isinstance(outcomes[0].error, LocalError)
    assert "memory" in outcomes[0].error.message
