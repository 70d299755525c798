from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from connector.errors import LocalError
from connector.transfer import Buffer, BufferPool

pytestmark = pytest.mark.trio

KIB = 1024
GRAIN = 64 * KIB


async def test_a_buffer_has_the_asked_size_and_counts_whole_grains() -> None:
    pool = BufferPool(10 * GRAIN)
    buffer = await pool.acquire(100)
    assert (len(buffer.view), buffer.capacity, pool.allocated) == (100, GRAIN, GRAIN)
    buffer.view[:] = b"x" * 100


async def test_memory_is_used_again() -> None:
    pool = BufferPool(10 * GRAIN)
    first = await pool.acquire(3 * GRAIN)
    memory = first.memory
    pool.release(first)
    again = await pool.acquire(2 * GRAIN + 5)
    assert again.memory is memory
    assert (len(again.view), pool.allocated) == (2 * GRAIN + 5, 3 * GRAIN)


async def test_a_returned_view_cannot_be_used_any_more() -> None:
    pool = BufferPool(GRAIN)
    buffer = await pool.acquire(10)
    view = buffer.view
    pool.release(buffer)
    with pytest.raises(ValueError, match="released"):
        view[0]


async def test_a_small_part_leaves_a_large_buffer_to_a_large_part() -> None:
    pool = BufferPool(20 * GRAIN)
    large = await pool.acquire(16 * GRAIN)
    memory = large.memory
    pool.release(large)
    small = await pool.acquire(100)
    assert small.memory is not memory
    assert (await pool.acquire(16 * GRAIN)).memory is memory


async def test_free_memory_of_the_wrong_size_makes_room() -> None:
    pool = BufferPool(4 * GRAIN)
    for buffer in [await pool.acquire(GRAIN) for _ in range(4)]:
        pool.release(buffer)
    assert pool.allocated == 4 * GRAIN
    assert (await pool.acquire(3 * GRAIN)).capacity == 3 * GRAIN
    assert pool.allocated <= 4 * GRAIN


async def test_the_whole_budget_can_be_lent_at_once_even_if_it_is_no_whole_grain() -> None:
    pool = BufferPool(GRAIN + 1)
    buffer = await pool.acquire(GRAIN + 1)
    assert pool.allocated == GRAIN + 1
    pool.release(buffer)


async def test_a_part_larger_than_the_budget_has_all_memory_for_itself() -> None:
    pool = BufferPool(2 * GRAIN)
    small = [await pool.acquire(GRAIN) for _ in range(2)]
    got: list[Buffer | int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(borrow, pool, 3 * GRAIN + 1, got)
        for buffer in small:
            await wait_all_tasks_blocked()
            assert got == []
            pool.release(buffer)
        await wait_all_tasks_blocked()
        nursery.start_soon(borrow, pool, 10, got)
        await wait_all_tasks_blocked()
        [large] = got
        assert isinstance(large, Buffer)
        assert large.capacity == pool.allocated == 3 * GRAIN + 1
        pool.release(large)
    assert len(got) == 2
    assert pool.allocated == GRAIN  # the budget is what it was


async def test_memory_that_the_system_does_not_have() -> None:
    pool = BufferPool(GRAIN)
    with pytest.raises(LocalError, match="cannot allocate memory"):
        await pool.acquire(1 << 60)
    busy = await pool.acquire(GRAIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_soon, pool, busy)
        with pytest.raises(LocalError, match="cannot allocate memory"):
            await pool.acquire(1 << 60)
    pool.release(await pool.acquire(GRAIN))


async def release_soon(pool: BufferPool, buffer: Buffer) -> None:
    await wait_all_tasks_blocked()
    pool.release(buffer)


async def test_what_is_given_up_goes_back_to_the_system() -> None:
    pool = BufferPool(4 * GRAIN)
    kept, freed = await pool.acquire(GRAIN), await pool.acquire(GRAIN)
    memory = freed.memory
    pool.release(freed)
    pool.close()
    assert pool.allocated == GRAIN
    assert memory.closed
    kept.view[0] = 1


async def borrow(pool: BufferPool, size: int, got: list[Buffer | int]) -> None:
    got.append(await pool.acquire(size))


async def test_requests_are_served_in_order_and_a_small_one_never_overtakes_a_large_one() -> None:
    pool = BufferPool(4 * GRAIN)
    first = await pool.acquire(3 * GRAIN)
    order: list[int] = []

    async def ask(number: int, size: int) -> None:
        buffer = await pool.acquire(size)
        order.append(number)
        await trio.sleep(0)
        pool.release(buffer)

    async with trio.open_nursery() as nursery:
        for number, size in enumerate([4 * GRAIN, GRAIN, 2 * GRAIN, 10]):
            nursery.start_soon(ask, number, size)
            await wait_all_tasks_blocked()
        assert order == []  # one grain is free, but the first in line wants more
        pool.release(first)
    assert order == [0, 1, 2, 3]


async def test_a_new_request_does_not_overtake_the_line_either() -> None:
    pool = BufferPool(2 * GRAIN)
    held = await pool.acquire(GRAIN)
    got: list[Buffer | int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(borrow, pool, 2 * GRAIN, got)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await pool.acquire(10)  # would fit
        assert scope.cancelled_caught
        pool.release(held)
    assert len(got) == 1


async def test_who_gives_up_waiting_makes_way_for_smaller_requests_behind() -> None:
    pool = BufferPool(2 * GRAIN)
    await pool.acquire(GRAIN)
    got: list[Buffer | int] = []
    async with trio.open_nursery() as nursery:
        impatient = trio.CancelScope()

        async def want_all() -> None:
            with impatient:
                await pool.acquire(2 * GRAIN)

        nursery.start_soon(want_all)
        await wait_all_tasks_blocked()
        nursery.start_soon(borrow, pool, GRAIN, got)
        await wait_all_tasks_blocked()
        assert got == []
        impatient.cancel()
    assert len(got) == 1
    assert pool.allocated == 2 * GRAIN


async def test_memory_served_to_one_who_is_cancelled_in_the_same_moment_is_not_lost() -> None:
    pool = BufferPool(GRAIN)
    held = await pool.acquire(GRAIN)
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            buffer = await pool.acquire(GRAIN)
            pool.release(buffer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        scope.cancel()
        pool.release(held)
    with trio.fail_after(30):
        pool.release(await pool.acquire(GRAIN))


async def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    pool = BufferPool(8 * GRAIN)
    memories = set()
    for number in range(1000):
        buffer = await pool.acquire(GRAIN * (1 + number % 3))
        memories.add(id(buffer.memory))
        pool.release(buffer)
        assert pool.allocated <= 8 * GRAIN
    assert len(memories) <= 8


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
async def test_each_system_has_buffers(platform: str) -> None:
    pool = BufferPool(1 << 20, platform=platform)
    buffer = await pool.acquire(100)
    buffer.view[:] = bytes(range(100))
    assert buffer.view.tobytes() == bytes(range(100))
    pool.release(buffer)
    pool.close()


async def test_a_buffer_is_released_once() -> None:
    pool = BufferPool(1024**2)
    buffer = await pool.acquire(1000)
    pool.release(buffer)
    with pytest.raises(RuntimeError, match="twice"):
        pool.release(buffer)
    assert await pool.acquire(1000) is buffer
    pool.release(buffer)


async def test_memory_that_is_refused_to_one_who_is_cancelled_in_the_same_moment() -> None:
    pool = BufferPool(GRAIN)
    held = await pool.acquire(GRAIN)
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await pool.acquire(1 << 60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        scope.cancel()
        pool.release(held)
    assert scope.cancelled_caught
    with trio.fail_after(10):
        pool.release(await pool.acquire(GRAIN))
