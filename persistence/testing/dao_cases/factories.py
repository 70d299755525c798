"""Factories: opening and closing, event loops, and the database's time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.from_thread
import anyio.to_thread
import sniffio

from persistence.documents import Dao, DaoFactory
from persistence.errors import AlreadyOpen, Closed, InvalidQuery, PersistenceError, Rejected, WrongLoop
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.writes import people
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Job, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


def uses(factory: DaoFactory, dao: Dao[Person]) -> list[Callable[[], Awaitable[object]]]:
    """A call of every kind."""

    async def find() -> list[Person]:
        return [person async for person in dao.find_all()]

    async def begin() -> None:
        async with factory.transaction():
            pass

    return [
        lambda: dao.get_by_id("1"),
        lambda: dao.find_one({"name": "Ada"}),
        find,
        dao.count,
        lambda: dao.insert(Person("2")),
        lambda: dao.update(Person("1", "Grace")),
        lambda: dao.upsert(Person("1", "Grace")),
        lambda: dao.delete("1"),
        lambda: dao.insert_many([Person("2"), Person("3")]),
        lambda: dao.delete_many(["1", "2"]),
        lambda: dao.compare_and_set("1", expected={}, changes={"name": "Grace"}),
        lambda: factory.dao("people", Person, id_field="id"),
        begin,
        factory.now,
    ]


@cases
async def all_is_closed_with_the_factory(h: DaoHarness) -> None:
    factory = h.make_factory()
    async with factory:
        dao = await factory.dao(h.name(), Person, id_field="id")
    for use in uses(factory, dao):
        with raises(Closed) as caught:
            await use()
        assert isinstance(caught.error, Rejected)


@cases
async def calls_end_when_their_factory_is_closed(h: DaoHarness) -> None:
    factory = h.make_factory()
    errors: list[PersistenceError] = []

    async def call_on(call: Callable[[], Awaitable[object]]) -> None:
        while not any(isinstance(error, Closed) for error in errors[-1:]):
            try:
                await call()
            except PersistenceError as error:
                errors.append(error)

    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:
            async with factory:
                dao = await factory.dao(h.name(), Person, id_field="id")
                await dao.insert(Person("1"))
                for _ in range(5):
                    tasks.start_soon(call_on, dao.count)
                    tasks.start_soon(call_on, lambda: dao.upsert(Person("1")))
                await anyio.sleep(0.1)
    assert isinstance(errors[-1], Closed)


@cases
async def a_factory_can_be_opened_again(h: DaoHarness) -> None:
    factory, name = h.make_factory(), h.name()
    async with factory:
        dao = await factory.dao(name, Person, id_field="id")
        await dao.insert(Person("1"))
    async with factory:
        again = await factory.dao(name, Person, id_field="id")
        assert await again.get_by_id("1") == Person("1")


@cases
async def daos_of_an_earlier_opening_stay_closed(h: DaoHarness) -> None:
    factory, name = h.make_factory(), h.name()
    async with factory:
        dao = await factory.dao(name, Person, id_field="id")
        await dao.insert(Person("1"))
    async with factory:
        again = await factory.dao(name, Person, id_field="id")
        for use in uses(factory, dao)[:-3]:
            with raises(Closed):
                await use()
        async with factory.transaction() as transaction:
            with raises(InvalidQuery):
                transaction.bind(dao)
            assert await transaction.bind(again).get_by_id("1") == Person("1")


@cases
async def a_factory_is_not_entered_twice(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(AlreadyOpen):
        await h.factory.__aenter__()
    await dao.insert(Person("1"))
    assert await dao.count() == 1


@cases
async def a_factory_is_not_entered_twice_at_once(h: DaoHarness) -> None:
    factory = h.make_factory()
    opened: list[bool] = []

    async def enter() -> None:
        try:
            await factory.__aenter__()
            opened.append(True)
        except AlreadyOpen:
            opened.append(False)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        tasks.start_soon(enter)
    assert sorted(opened) == [False, True]
    try:
        dao = await factory.dao(h.name(), Person, id_field="id")
        await dao.insert(Person("1"))
    finally:
        await factory.__aexit__(None, None, None)


@cases
async def another_event_loop_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    errors: list[Exception] = []

    async def elsewhere() -> None:
        for use in uses(h.factory, dao):
            try:
                with anyio.fail_after(10):
                    await use()
            except Exception as error:
                errors.append(error)

    for backend in ("asyncio", "trio"):
        await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere, backend=backend))  # noqa: B023
    assert [type(error) for error in errors] == [WrongLoop] * 2 * len(uses(h.factory, dao)), errors
    assert isinstance(errors[0], Rejected)
    assert [person async for person in dao.find_all()] == [Person("1")]


@cases
async def a_transaction_stays_in_its_event_loop(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)

        async def elsewhere() -> None:
            with raises(WrongLoop):
                await bound.insert(Person("1"))

        backend = sniffio.current_async_library()
        await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere, backend=backend))
        await bound.insert(Person("2"))
    assert [person.id async for person in dao.find_all()] == ["2"]


@cases
async def the_time_is_that_of_a_clock(h: DaoHarness) -> None:
    before = await h.factory.now()
    assert before.tzinfo is UTC
    assert before.microsecond % 1000 == 0
    assert abs(datetime.now(UTC) - before) < timedelta(minutes=5)
    await anyio.sleep(0.02)
    assert await h.factory.now() > before


@cases
async def the_time_can_be_stored_and_compared(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    now = await h.factory.now()
    await dao.insert(Job(1, due=now))
    assert (await dao.get_by_id(1)).due == now
    await anyio.sleep(0.02)
    assert await dao.count({"due": {"$lt": await h.factory.now()}}) == 1


@cases
async def a_lease_goes_to_one_and_only_after_its_end(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert(Job(1, due=await h.factory.now()))
    holders: list[str] = []

    async def take(name: str) -> None:
        now = await h.factory.now()
        changes = {"owner": name, "due": now + timedelta(hours=1)}
        if await dao.compare_and_set(1, expected={"due": {"$lt": now}}, changes=changes) is not None:
            holders.append(name)

    async def all_try(term: str) -> None:
        await anyio.sleep(0.02)
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(take, f"{term} {number}")

    await all_try("first")
    await all_try("too early")
    assert [(await dao.get_by_id(1)).owner] == holders
    await dao.compare_and_set(1, expected={}, changes={"due": await h.factory.now()})
    await all_try("second")
    assert [name.partition(" ")[0] for name in holders] == ["first", "second"]
