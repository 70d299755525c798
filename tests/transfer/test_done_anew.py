"""A whole that turns out wrong at the end is moved once more, and a line that is cut again and again gets there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio

from connector.errors import RETRY, BrokenError, IntegrityError, RefusedError, RetryPolicy
from connector.parts import Part
from connector.transfer import Progress
from tests.support.scripted_transfers import Recorder, Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio


class Reopened(Scripted):
    """May be moved again after it was closed."""

    async def open(self) -> Sequence[Part]:
        self.closes = 0
        return await super().open()


def wrong_at_the_end(times: int) -> Callable[[Scripted], Awaitable[None]]:
    async def finish(transfer: Scripted) -> None:
        if transfer.opens <= times:
            raise IntegrityError("Not what it should be.", advice=RetryPolicy(again=False, restart="damaged"))

    return finish


async def test_a_wrong_whole_is_moved_once_more(autojump_clock: object) -> None:
    recorder = Recorder()
    one = Reopened("a", parts_of(1, 1), on_finish=wrong_at_the_end(1))
    assert labels(await make_scheduler(1, observer=recorder).run([one])) == ["a"]
    steps = ["open", "move 1", "moved 1", "move 2", "moved 2", "finish", "close"]
    assert [what for _, _, what in one.log] == steps * 2
    assert [event[1] for event in recorder.events] == ["retried", "finished"]


async def test_and_once_only(autojump_clock: object) -> None:
    one = Reopened("a", parts_of(1), on_finish=wrong_at_the_end(10))
    (outcome,) = await make_scheduler().run(
        [
            one,
        ]
    )
    assert isinstance(outcome.error, IntegrityError)
    assert one.opens == 2


async def test_each_cause_once_also_from_the_middle(autojump_clock: object) -> None:
    async def fail(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(0)
        cause = "lost" if transfer.opens % 2 else "damaged"
        raise RefusedError("Lost.", advice=RetryPolicy(again=False, restart=cause))

    recorder = Recorder()
    one = Reopened("a", parts_of(1), on_move=fail)
    (outcome,) = await make_scheduler(observer=recorder).run([one])
    assert isinstance(outcome.error, RefusedError)
    assert one.opens == 3
    assert [event[1] for event in recorder.events] == ["retried", "retried", "finished"]


async def test_what_was_tried_again_on_the_spot_is_not_done_anew(autojump_clock: object) -> None:
    async def cut(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(0)
        raise BrokenError("Cut.", advice=RETRY)

    one = Reopened("a", parts_of(1), on_move=cut)
    (outcome,) = await make_scheduler(attempts=3).run([one])
    assert isinstance(outcome.error, BrokenError)
    assert one.opens == 1
    assert [what for _, _, what in one.log].count("move 1") == 3


@pytest.mark.parametrize(("step", "arrives"), [(10, True), (0, False)])
async def test_tries_that_get_farther_each_time_are_not_counted(
    autojump_clock: object, step: int, arrives: bool
) -> None:
    """Over a line that is cut every few bytes a large part needs more tries than anybody would grant a dead one."""
    through = 5

    async def bit_by_bit(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        nonlocal through
        await trio.sleep(0)
        through += step
        progress(min(through, part.size))
        if through < part.size:
            raise BrokenError("Cut.", advice=RETRY)

    recorder = Recorder()
    one = Scripted("a", parts_of(100), on_move=bit_by_bit)
    (outcome,) = await make_scheduler(attempts=4, observer=recorder).run([one])
    assert outcome.ok is arrives
    assert recorder.through["a"] == (100 if arrives else 5)
    assert [what for _, _, what in one.log].count("move 1") == (10 if arrives else 4)
