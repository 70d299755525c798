"""Transactions over several DAOs."""

from __future__ import annotations

import anyio

from persistence.documents import Transaction
from persistence.errors import Closed, DocumentExists, DocumentNotFound, InvalidQuery, TransactionConflict
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.writes import people
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Job, NewPerson, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@cases
async def a_commit_keeps_all(h: DaoHarness) -> None:
    one, two = await people(h), await h.factory.dao(h.name(), Job, id_field="id")
    async with h.factory.transaction() as transaction:
        await transaction.bind(one).insert(Person("1"))
        await transaction.bind(two).insert(Job(1))
    assert await one.get_by_id("1") == Person("1")
    assert await two.get_by_id(1) == Job(1)


@cases
async def an_error_keeps_nothing(h: DaoHarness) -> None:
    one, two = await people(h), await h.factory.dao(h.name(), Job, id_field="id")
    await one.insert(Person("old"))
    try:
        async with h.factory.transaction() as transaction:
            await transaction.bind(one).insert(Person("1"))
            await transaction.bind(one).delete("old")
            await transaction.bind(two).insert(Job(1))
            raise KeyError("a failure of the caller")
    except KeyError:
        pass
    assert [person.id async for person in one.find_all()] == ["old"]
    assert await two.count() == 0


@cases
async def cancellation_keeps_nothing(h: DaoHarness) -> None:
    dao = await people(h)
    with anyio.move_on_after(0.2) as scope:
        async with h.factory.transaction() as transaction:
            await transaction.bind(dao).insert(Person("1"))
            await anyio.sleep(30)
    assert scope.cancelled_caught
    assert await dao.count() == 0
    await dao.insert(Person("1"))


@cases
async def nothing_is_seen_outside_before_the_commit(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("old", "old"))
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        await bound.insert(Person("1"))
        await bound.update(Person("old", "new"))
        assert await dao.count() == 1
        assert (await dao.get_by_id("old")).name == "old"
    assert await dao.count() == 2


@cases
async def it_sees_its_own_writes(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        await bound.insert(Person("1", "Ada"))
        assert await bound.get_by_id("1") == Person("1", "Ada")
        assert await bound.compare_and_set("1", expected={"name": "Ada"}, changes={"name": "Grace"}) is not None
        assert [person.name async for person in bound.find_all({"name": "Grace"})] == ["Grace"]
        assert await bound.count() == 1
        await bound.delete("1")
        assert await bound.find_one({"id": "1"}) is None
    assert await dao.count() == 0


@cases
async def batches_work_inside(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert_many([Person("a"), Person("b")])
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        assert await bound.insert_many([Person("1"), Person("2")]) == {}
        assert await bound.upsert_many([Person("1", "new"), Person("3")]) == {}
        assert await bound.delete_many(["a", "2"]) == {}
    assert sorted([person.id async for person in dao.find_all()]) == ["1", "3", "b"]


@cases
async def a_surrogate_dao_works_inside(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(h.name(), Person, creation_model=NewPerson, id_field="id")
    async with h.factory.transaction() as transaction:
        person = await transaction.bind_surrogate(dao).insert(NewPerson("Grace"))
    assert await dao.get_by_id(person.id) == person


@cases
async def an_error_inside_that_leaves_rolls_back(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("taken"))
    with raises(DocumentExists):
        async with h.factory.transaction() as transaction:
            bound = transaction.bind(dao)
            await bound.insert(Person("1"))
            await bound.insert(Person("taken"))
    assert await dao.count() == 1


@cases
async def reading_what_is_missing_leaves_it_usable(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        with raises(DocumentNotFound):
            await bound.get_by_id("missing")
        await bound.insert(Person("1"))
    assert await dao.count() == 1


@cases
async def a_bound_dao_ends_with_its_transaction(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
    with raises(Closed):
        await bound.insert(Person("1"))
    with raises(Closed):
        await bound.count()


@cases
async def something_else_is_not_bound(h: DaoHarness) -> None:
    async with h.factory.transaction() as transaction:
        with raises(InvalidQuery):
            transaction.bind(object())  # type: ignore[arg-type]


@cases
async def a_dao_of_another_factory_is_not_bound(h: DaoHarness) -> None:
    name = h.name()
    dao = await h.factory.dao(name, Person, id_field="id")
    async with h.make_factory() as other:
        foreign = await other.dao(name, Person, id_field="id")
        foreign_surrogate = await other.surrogate_dao(name, Person, creation_model=NewPerson, id_field="id")
        async with h.factory.transaction() as transaction:
            with raises(InvalidQuery):
                transaction.bind(foreign)
            with raises(InvalidQuery):
                transaction.bind_surrogate(foreign_surrogate)
            await transaction.bind(dao).insert(Person("1"))
        assert await dao.count() == 1


@cases
async def a_bound_dao_is_not_bound_again(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        with raises(InvalidQuery):
            transaction.bind(bound)
    async with h.factory.transaction() as transaction:
        with raises(InvalidQuery):
            transaction.bind(bound)
        await transaction.bind(dao).insert(Person("1"))
    assert await dao.count() == 1


@cases
async def natural_and_surrogate_ids_are_not_mixed_up(h: DaoHarness) -> None:
    natural = await people(h)
    surrogate = await h.factory.surrogate_dao(h.name(), Person, creation_model=NewPerson, id_field="id")
    async with h.factory.transaction() as transaction:
        with raises(InvalidQuery):
            transaction.bind(surrogate)  # type: ignore[arg-type]
        with raises(InvalidQuery):
            transaction.bind_surrogate(natural)  # type: ignore[arg-type]


@cases
async def nothing_is_bound_after_the_end(h: DaoHarness) -> None:
    dao = await people(h)
    async with h.factory.transaction() as transaction:
        pass
    with raises(Closed):
        transaction.bind(dao)


@cases
async def an_empty_transaction_is_fine(h: DaoHarness) -> None:
    async with h.factory.transaction():
        pass


@cases
async def a_callback_commits_and_gives_its_result(h: DaoHarness) -> None:
    dao = await people(h)

    async def work(transaction: Transaction) -> str:
        await transaction.bind(dao).insert(Person("1"))
        return "done"

    assert await h.factory.with_transaction(work) == "done"
    assert await dao.count() == 1


@cases
async def a_callback_is_repeated_after_a_conflict(h: DaoHarness) -> None:
    dao = await people(h)
    attempts = 0

    async def work(transaction: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await transaction.bind(dao).insert(Person(str(attempts)))
        if attempts < 3:
            raise TransactionConflict("A conflict made by this case.")

    await h.factory.with_transaction(work)
    assert [person.id async for person in dao.find_all()] == ["3"]


@cases
async def a_callback_is_not_repeated_for_ever(h: DaoHarness) -> None:
    attempts = 0

    async def work(transaction: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        raise TransactionConflict("A conflict made by this case.")

    with raises(TransactionConflict):
        await h.factory.with_transaction(work, attempts=3)
    assert attempts == 3


@cases
async def money_is_neither_made_nor_lost(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert_many([Job(1, version=100), Job(2, version=100)])

    async def transfer(source: int, target: int) -> None:
        async def work(transaction: Transaction) -> None:
            bound = transaction.bind(dao)
            giver, taker = await bound.get_by_id(source), await bound.get_by_id(target)
            await bound.update(_with_version(giver, giver.version - 1))
            await bound.update(_with_version(taker, taker.version + 1))

        for _ in range(3):
            await h.factory.with_transaction(work, attempts=100)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(transfer, 1, 2)
            tasks.start_soon(transfer, 2, 1)
        tasks.start_soon(transfer, 1, 2)
    assert [job.version async for job in dao.find_all(sort=["id"])] == [97, 103]


def _with_version(job: Job, version: int) -> Job:
    return Job(job.id, job.state, job.owner, version, job.due)
