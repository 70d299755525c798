"""Calls that are alone go another way, and mean the same."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import anyio
import pytest
from pymongo.errors import AutoReconnect

from persistence.errors import DocumentExists, TooLarge, Unreachable
from persistence.providers.mongodb import MongoDaoFactory
from persistence.testing.models import Job

pytestmark = pytest.mark.anyio


@pytest.fixture
async def factory(mongodb: str) -> AsyncIterator[MongoDaoFactory]:
    async with MongoDaoFactory(mongodb, f"alone_{uuid4().hex[:8]}", deadline=5) as factory:
        yield factory
        await factory.drop_database()


def losing(factory: MongoDaoFactory, *, before: bool) -> Callable[..., Any]:
    """The lane's way to run a call, but the connection breaks before or after the database has done it."""
    lane = factory._lane
    assert lane is not None
    really = lane.run

    async def run(call: Callable[[Any], Any], deadline: float) -> Any:
        def broken(client: Any) -> Any:
            if not before:
                call(client)
            raise AutoReconnect("connection closed")

        return await really(broken, deadline)

    return run


async def test_a_lost_answer_is_no_duplicate(factory: MongoDaoFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    monkeypatch.setattr(factory._lane, "run", losing(factory, before=False))
    with pytest.raises(Unreachable):
        await jobs.insert(Job(1))
    monkeypatch.undo()
    assert await jobs.get_by_id(1) == Job(1)
    with pytest.raises(DocumentExists):
        await jobs.insert(Job(1))


async def test_what_did_not_arrive_is_sent_again(factory: MongoDaoFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    monkeypatch.setattr(factory._lane, "run", losing(factory, before=True))
    await jobs.insert(Job(1))
    assert await jobs.count() == 1


async def test_a_lone_document_that_is_too_large(factory: MongoDaoFactory) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    with pytest.raises(TooLarge):
        await jobs.insert(Job(1, owner="x" * (16 * 1024**2 + 1)))
    with pytest.raises(TooLarge):
        await jobs.insert(Job(1, owner="x" * (16 * 1024**2 - 20)))
    assert await jobs.count() == 0


async def test_a_call_left_behind_takes_the_lane_until_it_ends(factory: MongoDaoFactory) -> None:
    jobs = await factory.dao("jobs", Job, id_field="id")
    await jobs.insert(Job(1))
    lane = factory._lane
    assert lane is not None
    until = threading.Event()
    with anyio.move_on_after(0.05) as scope:
        await lane.run(lambda _: until.wait(5), 5)
    assert scope.cancelled_caught
    assert not lane.free
    assert await jobs.get_by_id(1) == Job(1)
    until.set()
    while not lane.free:
        await anyio.sleep(0.01)
    assert await jobs.get_by_id(1) == Job(1)


async def test_the_lane_keeps_the_deadline(factory: MongoDaoFactory) -> None:
    lane = factory._lane
    assert lane is not None
    began = time.monotonic()
    until = threading.Event()
    with pytest.raises(TimeoutError):
        await lane.run(lambda _: until.wait(5), 0.1)
    assert time.monotonic() - began < 2
    assert not lane.free
    until.set()
