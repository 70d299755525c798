"""The other side allows only so many open transfers."""

from __future__ import annotations

import attrs
import pytest
import trio

from connector.parts import Part
from connector.transfer import Progress, TooManyOpenTransfersError
from tests.support.scripted_transfers import Recorder, Scripted, labels, make_scheduler, parts_of, take_a_second

pytestmark = pytest.mark.trio


@attrs.define
class Box:
    """An archive's box with a cap on open uploads; answers take ``latency`` seconds there and back."""

    cap: int
    latency: float = 0.1
    open: int = 0
    asked: int = 0
    refused: int = 0
    most: int = 0

    async def create(self, transfer: Scripted) -> None:
        self.asked += 1
        await trio.sleep(self.latency / 2)
        full = self.open >= self.cap
        if full:
            self.refused += 1
        else:
            self.open += 1
            self.most = max(self.most, self.open)
        await trio.sleep(self.latency / 2)
        if full:
            raise TooManyOpenTransfersError("Too many open uploads.", status=429)

    async def complete(self, transfer: Scripted) -> None:
        await trio.sleep(self.latency / 2)
        self.open -= 1
        await trio.sleep(self.latency / 2)

    def upload(self, label: str, parts: int = 1) -> Scripted:
        return Scripted(label, parts_of(*[1] * parts), on_open=self.create, on_finish=self.complete)


async def test_everything_completes_under_the_cap_and_the_cap_is_used(autojump_clock: object) -> None:
    box = Box(cap=5)
    uploads = [box.upload(str(n)) for n in range(60)]
    with trio.fail_after(1000):
        outcomes = await make_scheduler(8, window=32).run(uploads)
    assert labels(outcomes) == [str(n) for n in range(60)]
    assert box.most == 5
    # 60 uploads of 1.2 s by fives take 14.4 s; turned away are those that came first, and hardly any later.
    assert trio.current_time() < 14.4 * 1.25
    assert box.refused <= 32
    assert all(upload.closes == 1 for upload in uploads)


async def test_nothing_is_said_of_a_wait_for_one_of_ours(autojump_clock: object) -> None:
    box, recorder = Box(cap=1), Recorder()
    await make_scheduler(observer=recorder).run([box.upload("a"), box.upload("b")])
    assert box.refused
    assert [event for event in recorder.events if event[1] == "waiting"] == []


async def test_what_others_take_is_waited_for_as_long_as_patience_lasts(autojump_clock: object) -> None:
    """The places are all taken by somebody else, who does not go: the refusal is the outcome, for all at once."""
    box, recorder = Box(cap=0), Recorder()
    scheduler = make_scheduler(patience=600, observer=recorder)
    with trio.fail_after(1000):
        outcomes = await scheduler.run([box.upload(str(n)) for n in range(10)])
    assert all(isinstance(outcome.error, TooManyOpenTransfersError) for outcome in outcomes)
    assert 600 <= trio.current_time() < 640
    assert box.asked < 70
    waits = [event for event in recorder.events if event[1] == "waiting"]
    alone = box.asked - (len(outcomes) - 1)  # the others were told no while one more of ours asked
    assert len(waits) == alone - len(outcomes)
    # The next batch hopes anew.
    begun = trio.current_time()
    await scheduler.run([box.upload("later")])
    assert trio.current_time() - begun >= 600


@pytest.mark.parametrize("free", [1, 3])
async def test_when_others_make_room_all_of_it_is_used(autojump_clock: object, free: int) -> None:
    box = Box(cap=0)
    uploads = [box.upload(str(n)) for n in range(30)]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def others_end() -> None:
            await trio.sleep(100)
            box.cap = free

        with trio.fail_after(1000):
            outcomes = await make_scheduler(8).run(uploads)
    assert labels(outcomes) == [str(n) for n in range(30)]
    assert box.most == free
    # Noticed within the longest pause, and then 30 uploads of 1.2 s by as many at once as there is room for.
    assert trio.current_time() < 100 + 30 + 30 * 1.2 / free * 1.25


async def test_a_place_that_comes_free_while_the_no_travels_is_not_missed(autojump_clock: object) -> None:
    """b is told no while a is open, but hears of it only after a has ended, and then nobody is left to wait for."""
    box = Box(cap=1, latency=6.0)

    async def quick(transfer: Scripted) -> None:
        box.open -= 1

    async def create_late(transfer: Scripted) -> None:
        if not box.refused:
            await trio.sleep(2)
        await box.create(transfer)

    first = box.upload("a")
    first.on_finish = quick
    second = box.upload("b")
    second.on_open = create_late
    with trio.fail_after(1000):
        outcomes = await make_scheduler().run([first, second])
    assert labels(outcomes) == ["a", "b"]
    assert box.refused == 1


async def test_failing_transfers_make_room_too(autojump_clock: object) -> None:
    box = Box(cap=2)

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        await trio.sleep(1)
        if int(transfer.label) % 3 == 0:
            raise TooManyOpenTransfersError("of another kind")

    async def give_up(transfer: Scripted) -> None:
        if transfer.log[-2][2] != "finish":
            box.open -= 1

    uploads = [box.upload(str(n), parts=2) for n in range(12)]
    for upload in uploads:
        upload.on_move, upload.on_close = move, give_up
    with trio.fail_after(1000):
        outcomes = await make_scheduler().run(uploads)
    assert labels(outcomes) == [None if n % 3 == 0 else str(n) for n in range(12)]


async def test_those_that_wait_can_be_cancelled(autojump_clock: object) -> None:
    box = Box(cap=1)
    uploads = [box.upload(str(n), parts=100) for n in range(5)]
    scheduler = make_scheduler(1, patience=60)
    with trio.move_on_after(10) as scope:
        await scheduler.run(uploads)
    assert scope.cancelled_caught
    assert [upload.closes for upload in uploads] == [1] * 5
    # Nothing is left behind that would hold up the next batch.
    with trio.fail_after(200):
        again = [Scripted(str(n), parts_of(1), on_move=take_a_second) for n in range(40)]
        assert len(labels(await scheduler.run(again))) == 40
        (outcome,) = await scheduler.run([Box(cap=0).upload("turned away")])
        assert isinstance(outcome.error, TooManyOpenTransfersError)


async def test_a_later_batch_begins_with_the_whole_window_again(autojump_clock: object) -> None:
    box = Box(cap=1)
    scheduler = make_scheduler(8, window=8)
    await scheduler.run([box.upload(str(n)) for n in range(4)])
    assert scheduler.open_transfers.size < 4
    begun = trio.current_time()
    await scheduler.run([Scripted(str(n), parts_of(1)) for n in range(8)])
    assert trio.current_time() - begun == 1.0


async def test_with_a_guess_of_the_cap_hardly_anybody_is_turned_away(autojump_clock: object) -> None:
    """Those that ask beyond the places granted are single ones, and seldom."""
    box = Box(cap=5)
    with trio.fail_after(1000):
        await make_scheduler(8, first=5).run([box.upload(str(n)) for n in range(200)])
    assert box.most == 5
    assert box.refused <= 4


@pytest.mark.parametrize("cap", [12, 1000])
async def test_a_guess_that_is_too_low_is_corrected_soon(autojump_clock: object, cap: int) -> None:
    box = Box(cap=cap)
    with trio.fail_after(1000):
        await make_scheduler(32, first=5).run([box.upload(str(n)) for n in range(150)])
    assert box.most == min(cap, 32)
    # 1.2 s each; it takes a second or two until as many as there is room for are open.
    assert trio.current_time() < 150 * 1.2 / min(cap, 32) + 4


async def test_preparations_are_made_while_others_hold_the_places(autojump_clock: object) -> None:
    """Also those of a file that follows one whose end was a matter of seconds."""
    box = Box(cap=2)

    async def prepare(transfer: Scripted) -> None:
        await trio.sleep(1)

    uploads = [box.upload(str(n)) for n in range(40)]
    for upload in uploads:
        upload.on_prepare = prepare
    with trio.fail_after(1000):
        await make_scheduler(8, first=2).run(uploads)
    assert [upload.prepares for upload in uploads] == [1] * 40
    # 40 uploads of 1.2 s by twos take 24 s. One after the other, a second of preparation would make them 44 s.
    assert trio.current_time() < 24 * 1.1 + 1


async def test_no_more_are_prepared_than_can_be_let_in_next(autojump_clock: object) -> None:
    async def create(transfer: Scripted) -> None:
        await trio.sleep(100)

    uploads = [Scripted(str(n), parts_of(1), on_open=create) for n in range(40)]
    with trio.move_on_after(50):
        await make_scheduler(8, first=3).run(uploads)
    assert sum(upload.prepares for upload in uploads) == 6
    assert sum(upload.opens for upload in uploads) == 3


async def test_the_place_goes_on_while_the_transfer_is_put_away(autojump_clock: object) -> None:
    """What is done after the end is no business of the other side, which has room for the next one then."""
    box = Box(cap=1, latency=0)

    async def put_away(transfer: Scripted) -> None:
        await trio.sleep(10)

    uploads = [box.upload(str(n)) for n in range(3)]
    for upload in uploads:
        upload.on_close = put_away
    await make_scheduler(8, first=1).run(uploads)
    assert box.most == 1
    assert trio.current_time() < 3 + 10 + 10 + 1  # two inside: one has the place, and one is put away


async def test_once_others_are_done_their_places_are_found(autojump_clock: object) -> None:
    box = Box(cap=1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def others_end() -> None:
            await trio.sleep(10)
            box.cap = 5

        with trio.fail_after(1000):
            await make_scheduler(8, first=5).run([box.upload(str(n)) for n in range(300)])
    assert box.most == 5
    assert trio.current_time() < 200
