"""Calls sent in batches: each has a result, an error and a cancellation of its own."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

from persistence.documents.mongodb.batching import Batcher
from persistence.documents.mongodb.operation import Operation

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.broken = False
        self.operations: list[Operation[list[Any]]] = []

    def start(self, keys: list[int]) -> Operation[list[Any]]:
        operation = Operation(lambda: self._send(keys), None, callers=len(keys))
        self.operations.append(operation)
        return operation

    async def _send(self, keys: list[int]) -> list[Any]:
        self.batches.append(keys)
        # As PyMongo waits for a reply.
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0.01))])
        if self.broken:
            raise OSError("gone")
        return [ValueError(key) if key < 0 else key * 2 for key in keys]


async def test_a_single_call_is_sent_alone_and_at_once() -> None:
    server = Server()
    batcher = Batcher(server.start)
    assert [await batcher.call(number) for number in (1, 2)] == [2, 4]
    assert server.batches == [[1], [2]]


async def test_calls_are_batched_while_others_are_in_flight() -> None:
    server = Server()
    batcher = Batcher(server.start)
    results = await asyncio.gather(*(batcher.call(number) for number in range(250)))
    assert results == [number * 2 for number in range(250)]
    assert len(server.batches) <= 6
    assert max(map(len, server.batches)) == 100


async def test_an_error_belongs_to_its_entry() -> None:
    server = Server()
    batcher = Batcher(server.start)
    keys = [1, -2, 3, -4, 5]
    results = await asyncio.gather(*(batcher.call(key) for key in keys), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int, ValueError, int]


async def test_a_broken_call_fails_all_in_it_and_the_next_one_works() -> None:
    server = Server()
    server.broken = True
    batcher = Batcher(server.start)
    results = await asyncio.gather(*(batcher.call(key) for key in range(10)), return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    server.broken = False
    assert await batcher.call(1) == 2


async def test_a_cancelled_caller_ends_its_batch_only_if_it_was_the_last() -> None:
    server = Server()
    batcher = Batcher(server.start)
    tasks = [asyncio.create_task(batcher.call(key)) for key in range(6)]
    await asyncio.sleep(0.002)
    for task in tasks[:4]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[:4])
    assert results[4:] == [8, 10]
    assert [operation.task.cancelled() for operation in server.operations[:2]] == [True, True]
    with anyio.move_on_after(0.001):
        await batcher.call(7)
    assert await batcher.call(8) == 16


async def test_an_error_that_no_caller_waits_for_any_more_is_not_reported() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def fail() -> None:
        await asyncio.sleep(0)
        callers[0].cancel()
        raise OSError("gone")

    operation = Operation(fail, None)
    callers = [asyncio.create_task(operation.result())]
    await asyncio.wait(callers)
    assert callers.pop().cancelled()
    del operation
    gc.collect()
    assert reported == []
