from __future__ import annotations

import pytest
import trio

from connector.errors import RETRY, BrokenError
from connector.parts import Part, Parts
from connector.transfer import BufferPool, Progress
from connector.transfer.buffers import Buffer
from tests.support.scripted_transfers import Recorder, Scripted, labels, make_scheduler, parts_of

pytestmark = pytest.mark.trio

GRAIN = 64 * 1024


class WatchedPool(BufferPool):
    """Notes the most that was lent out, and the number of pieces of memory."""

    lent = 0
    most = 0
    pieces: set[int]

    async def acquire(self, size: int) -> Buffer:
        buffer = await super().acquire(size)
        self.pieces = getattr(self, "pieces", set()) | {id(buffer.memory)}
        self.lent += buffer.capacity
        self.most = max(self.most, self.lent)
        return buffer

    def release(self, buffer: Buffer) -> None:
        self.lent -= buffer.capacity
        super().release(buffer)


async def test_parts_of_mixed_sizes_stay_within_the_budget(autojump_clock: object) -> None:
    pool = WatchedPool(10 * GRAIN)
    sizes = [1, 5 * GRAIN, 10 * GRAIN, 3, GRAIN + 1, 7 * GRAIN, 2 * GRAIN]

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        assert pool.allocated <= 10 * GRAIN
        await trio.sleep(part.size / GRAIN)

    transfers = [Scripted(str(n), parts_of(*sizes[n % 3 :], *sizes[: n % 3]), on_move=move) for n in range(9)]
    with trio.fail_after(10_000):
        outcomes = await make_scheduler(8, pool=pool).run(transfers)
    assert labels(outcomes) == [str(n) for n in range(9)]
    assert 8 * GRAIN < pool.most <= 10 * GRAIN


async def test_memory_does_not_grow_with_files_or_parts(autojump_clock: object) -> None:
    pool = WatchedPool(64 * GRAIN)
    transfers = (Scripted(str(n), Parts(40 * GRAIN, GRAIN)) for n in range(10))
    await make_scheduler(4, pool=pool).run(transfers)
    assert pool.most == 4 * GRAIN
    assert pool.allocated <= 5 * GRAIN
    assert len(pool.pieces) <= 5


async def test_with_memory_for_one_part_parts_go_one_by_one_in_order(autojump_clock: object) -> None:
    one = Scripted("a", parts_of(*[GRAIN] * 6))
    assert labels(await make_scheduler(4, budget=GRAIN).run([one])) == ["a"]
    assert one.most_moving == 1
    assert one.moved == [1, 2, 3, 4, 5, 6]
    assert trio.current_time() == 6.0


async def test_a_part_larger_than_the_memory_moves_alone_and_is_told_of_once(autojump_clock: object) -> None:
    pool, notes = WatchedPool(4 * GRAIN), Recorder()
    large = [Scripted(name, Parts(size * 3, size)) for name, size in [("a", 6 * GRAIN), ("b", 5 * GRAIN)]]
    transfers = [*large, Scripted("larger", Parts(7 * GRAIN, 7 * GRAIN)), Scripted("small", Parts(8 * GRAIN, GRAIN))]
    outcomes = await make_scheduler(4, pool=pool, observer=notes).run(transfers)
    assert labels(outcomes) == ["a", "b", "larger", "small"]
    assert pool.most == 7 * GRAIN
    told = [event[2:] for event in notes.events if event[1] == "budget"]
    assert told == [("a", 4 * GRAIN, 6 * GRAIN), ("larger", 6 * GRAIN, 7 * GRAIN)]


async def test_a_part_keeps_one_buffer_through_all_its_tries(autojump_clock: object) -> None:
    seen: list[bytes] = []

    async def move(transfer: Scripted, part: Part, buffer: memoryview, progress: Progress) -> None:
        seen.append(bytes(buffer[:1]))
        buffer[0] = ord("x")
        if len(seen) == 1:
            raise BrokenError("Cut.", advice=RETRY)

    await make_scheduler().run([Scripted("a", parts_of(10), on_move=move)])
    assert seen == [b"\0", b"x"]
