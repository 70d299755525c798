"""Indexes: unique ones refuse, and none changes an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from persistence.documents import Dao, Index
from persistence.errors import AlreadyExists, DocumentExists, InvalidQuery, UniqueViolation
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


async def unique_people(h: DaoHarness) -> Dao[Person]:
    indexes = [Index("email", unique=True), Index(("name", "address.city"), unique=True), Index("age")]
    return await h.factory.dao(h.name(), Person, id_field="id", indexes=indexes)


def person(id_: str, *, email: str | None = None, city: str | None = None, name: str = "Ada") -> Person:
    return Person(id_, name, email=email or f"{id_}@example.org", address=Address(city or f"city of {id_}"))


@cases
async def a_violation_names_the_field(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1", email="a@example.org"))
    with raises(UniqueViolation) as caught:
        await dao.insert(person("2", email="a@example.org"))
    assert isinstance(caught.error, AlreadyExists)
    assert caught.error.fields == ("email",)
    assert caught.error.id == "2"
    assert await dao.count() == 1


@cases
async def a_violation_names_all_fields(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1", city="Rome"))
    with raises(UniqueViolation) as caught:
        await dao.insert(person("2", city="Rome"))
    assert caught.error.fields == ("name", "address.city")


@cases
async def one_equal_field_of_two_is_fine(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1", city="Rome", name="Ada"))
    await dao.insert(person("2", city="Rome", name="Grace"))
    assert await dao.count() == 2


@cases
async def an_update_that_violates_is_refused(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1"))
    await dao.insert(person("2"))
    with raises(UniqueViolation):
        await dao.update(person("2", email="1@example.org"))
    assert (await dao.get_by_id("2")).email == "2@example.org"


@cases
async def an_upsert_that_violates_is_refused(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1"))
    with raises(UniqueViolation):
        await dao.upsert(person("2", email="1@example.org"))
    assert await dao.count() == 1


@cases
async def a_change_that_violates_is_refused(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1"))
    await dao.insert(person("2"))
    with raises(UniqueViolation) as caught:
        await dao.compare_and_set("2", expected={}, changes={"email": "1@example.org"})
    assert caught.error.fields == ("email",)
    assert (await dao.get_by_id("2")).email == "2@example.org"


@cases
async def a_document_does_not_violate_itself(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1"))
    await dao.update(person("1"))
    await dao.upsert(person("1"))
    await dao.compare_and_set("1", expected={}, changes={"email": "1@example.org"})


@cases
async def freed_values_can_be_used_again(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1", email="a@example.org"))
    await dao.update(person("1", email="b@example.org"))
    await dao.insert(person("2", email="a@example.org"))
    await dao.delete("2")
    await dao.insert(person("3", email="a@example.org"))


@cases
async def none_counts_as_a_value(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id", indexes=[Index("email", unique=True)])
    await dao.insert(Person("1"))
    with raises(UniqueViolation):
        await dao.insert(Person("2"))


@cases
async def a_taken_id_is_reported_before_taken_values(h: DaoHarness) -> None:
    dao = await unique_people(h)
    await dao.insert(person("1"))
    with raises(DocumentExists):
        await dao.insert(person("1"))


@cases
async def batches_name_violations(h: DaoHarness) -> None:
    dao = await unique_people(h)
    failed = await dao.insert_many([person("1"), person("2", email="1@example.org"), person("3")])
    assert set(failed) == {"2"}
    error = failed["2"]
    assert isinstance(error, UniqueViolation)
    assert error.fields == ("email",)
    assert await dao.count() == 2


@cases
async def a_unique_index_over_existing_duplicates_is_refused(h: DaoHarness) -> None:
    name = h.name()
    dao = await h.factory.dao(name, Person, id_field="id")
    await dao.insert_many([Person("1", email="a"), Person("2", email="a")])
    with raises(UniqueViolation) as caught:
        await h.factory.dao(name, Person, id_field="id", indexes=[Index("email", unique=True)])
    assert caught.error.fields == ("email",)


@cases
async def an_index_can_be_added_later(h: DaoHarness) -> None:
    name = h.name()
    dao = await h.factory.dao(name, Person, id_field="id")
    await dao.insert(Person("1", email="a"))
    again = await h.factory.dao(name, Person, id_field="id", indexes=[Index("email", unique=True), Index("age")])
    with raises(UniqueViolation):
        await again.insert(Person("2", email="a"))


@cases
async def indexes_may_be_asked_for_twice(h: DaoHarness) -> None:
    name = h.name()
    for _ in range(2):
        dao = await h.factory.dao(
            name, Person, id_field="id", indexes=[Index(("age", "name")), Index("email", unique=True)]
        )
    await dao.insert(Person("1"))


@cases
async def an_index_on_an_unknown_field_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Person, id_field="id", indexes=[Index("nickname")])


@cases
async def indexed_queries_answer_the_same(h: DaoHarness) -> None:
    plain = await h.factory.dao(h.name(), Person, id_field="id")
    indexes = [Index("age"), Index(("name", "age")), Index("address.city"), Index("email")]
    indexed = await h.factory.dao(h.name(), Person, id_field="id", indexes=indexes)
    crowd = [
        Person(f"{n:02}", f"n{n % 3}", n % 4, None if n % 2 else f"e{n % 5}", Address(f"c{n % 6}")) for n in range(40)
    ]
    for dao in (plain, indexed):
        await dao.insert_many(crowd)
    for where in (
        {"age": 2}, {"age": {"$gt": 1}}, {"name": "n1", "age": {"$lt": 2}}, {"address.city": {"$in": ["c1", "c5"]}},
        {"email": None}, {"email": {"$gt": "e1"}}, {"$or": [{"age": 0}, {"email": "e2"}]}, {"age": {"$ne": 2}},
    ):  # fmt: skip
        for sort in (["id"], ["age"], ["-email"], ["name", "-age"]):
            one = [p.id async for p in plain.find_all(where, sort=sort)]
            two = [p.id async for p in indexed.find_all(where, sort=sort)]
            assert one == two, (where, sort)


@cases
async def a_violation_names_the_fields_whatever_the_dao_knows(h: DaoHarness) -> None:
    name = h.name()
    indexes = [Index("email", unique=True), Index(("name", "-age"), unique=True, name="who")]
    await h.factory.dao(name, Person, id_field="id", indexes=indexes)
    dao = await h.factory.dao(name, Person, id_field="id")
    await dao.insert_many([Person("1", "Ada", 1, email="a"), Person("2", "Grace", 2, email="b")])
    failing: list[Callable[[], Awaitable[object]]] = [
        lambda: dao.insert(Person("3", email="a")),
        lambda: dao.upsert(Person("3", email="a")),
        lambda: dao.update(Person("2", email="a")),
        lambda: dao.compare_and_set("2", expected={}, changes={"email": "a"}),
    ]
    for fail in failing:
        with raises(UniqueViolation) as caught:
            await fail()
        assert caught.error.fields == ("email",)
    failed = (await dao.insert_many([Person("4", "Grace", 2, email="d")]))["4"]
    assert isinstance(failed, UniqueViolation)
    assert failed.fields == ("name", "age")
    with raises(UniqueViolation) as caught:
        async with h.factory.transaction() as transaction:
            await transaction.bind(dao).insert(Person("4", "Grace", 2, email="d"))
    assert caught.error.fields == ("name", "age")
