"""Batches: each document for itself, an error per id."""

from __future__ import annotations

from persistence.documents import Index
from persistence.errors import DocumentExists, DocumentNotFound, InvalidValue, UniqueViolation
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.writes import people
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@cases
async def many_are_inserted(h: DaoHarness) -> None:
    dao = await people(h)
    assert await dao.insert_many(Person(str(number)) for number in range(250)) == {}
    assert await dao.count() == 250


@cases
async def none_are_inserted(h: DaoHarness) -> None:
    dao = await people(h)
    assert await dao.insert_many([]) == {}
    assert await dao.update_many([]) == {}
    assert await dao.upsert_many([]) == {}
    assert await dao.delete_many([]) == {}


@cases
async def existing_ones_are_reported_and_the_others_inserted(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("2", "Grace"))
    failed = await dao.insert_many([Person("1"), Person("2"), Person("3")])
    assert {id_: type(error) for id_, error in failed.items()} == {"2": DocumentExists}
    assert await dao.count() == 3
    assert (await dao.get_by_id("2")).name == "Grace"


@cases
async def an_id_twice_in_a_batch_is_reported(h: DaoHarness) -> None:
    dao = await people(h)
    failed = await dao.insert_many([Person("1", "first"), Person("1", "second")])
    assert set(failed) == {"1"}
    assert (await dao.get_by_id("1")).name == "first"


@cases
async def many_are_upserted(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "old"))
    assert await dao.upsert_many([Person("1", "new"), Person("2", "new"), Person("2", "newer")]) == {}
    assert [(p.id, p.name) async for p in dao.find_all(sort=["id"])] == [("1", "new"), ("2", "newer")]


@cases
async def many_are_updated(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert_many(Person(str(number), tags=["old"]) for number in range(250))
    assert await dao.update_many(Person(str(number), "new") for number in range(200)) == {}
    assert await dao.count({"name": "new", "tags": []}) == 200
    assert await dao.count() == 250


@cases
async def missing_ones_are_reported_and_the_others_updated(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert_many([Person("1"), Person("2")])
    failed = await dao.update_many([Person("0", "new"), Person("1", "new"), Person("3", "new"), Person("2", "new")])
    assert {id_: type(error) for id_, error in failed.items()} == {"0": DocumentNotFound, "3": DocumentNotFound}
    assert await dao.count({"name": "new"}) == 2
    assert await dao.count() == 2


@cases
async def of_an_id_twice_in_an_update_the_last_counts(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "old"))
    assert await dao.update_many([Person("1", "new"), Person("1", "newer")]) == {}
    assert (await dao.get_by_id("1")).name == "newer"
    assert set(await dao.update_many([Person("2", "new"), Person("2", "newer")])) == {"2"}


@cases
async def violations_and_missing_ones_are_reported_together(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id", indexes=[Index("email", unique=True)])
    await dao.insert_many([Person(name, email=name) for name in "abc"])
    failed = await dao.update_many([Person("a", email="c"), Person("b", email="x"), Person("d", email="y")])
    assert {id_: type(error) for id_, error in failed.items()} == {"a": UniqueViolation, "d": DocumentNotFound}
    assert [person.email async for person in dao.find_all(sort=["id"])] == ["a", "x", "c"]


@cases
async def an_update_of_many_works_in_a_transaction(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        await bound.insert(Person("2"))
        failed = await bound.update_many([Person("1", "new"), Person("2", "new"), Person("3", "new")])
    assert {id_: type(error) for id_, error in failed.items()} == {"3": DocumentNotFound}
    assert [person.name async for person in dao.find_all()] == ["new", "new"]


@cases
async def many_are_deleted(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert_many([Person(str(number)) for number in range(9)])
    assert await dao.delete_many(str(number) for number in range(7)) == {}
    assert await dao.count() == 2


@cases
async def missing_ones_are_reported_and_the_others_deleted(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert_many([Person("1"), Person("2")])
    failed = await dao.delete_many(["1", "missing", "2", "nothing"])
    assert {id_: type(error) for id_, error in failed.items()} == {
        "missing": DocumentNotFound,
        "nothing": DocumentNotFound,
    }
    assert await dao.count() == 0


@cases
async def an_id_twice_is_deleted_once(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    assert await dao.delete_many(["1", "1"]) == {}


@cases
async def a_batch_with_a_bad_value_stores_nothing(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(InvalidValue):
        await dao.insert_many([Person("1"), Person("2", age=2**64)])
    assert await dao.count() == 0
