"""DAOs that assign ids."""

from __future__ import annotations

import itertools
from uuid import UUID

import attrs

from persistence.documents import Index
from persistence.errors import DocumentNotFound, InvalidQuery, UniqueViolation
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Job, NewPerson, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@attrs.frozen
class Member:
    """A person with a UUID."""

    id: UUID
    name: str
    age: int = 36
    email: str | None = None
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen
class NewJob:
    """A job without its number."""

    state: str = "new"


@cases
async def an_id_is_assigned(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(h.name(), Member, creation_model=NewPerson, id_field="id")
    member = await dao.insert(NewPerson("Grace", tags=["navy"]))
    assert isinstance(member.id, UUID)
    assert (member.name, member.tags) == ("Grace", ["navy"])
    assert await dao.get_by_id(member.id) == member


@cases
async def a_text_id_is_assigned(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(h.name(), Person, creation_model=NewPerson, id_field="id")
    person = await dao.insert(NewPerson("Grace"))
    assert str(UUID(person.id)) == person.id
    assert await dao.get_by_id(person.id) == person


@cases
async def ids_come_from_the_given_source(h: DaoHarness) -> None:
    numbers = itertools.count(7)
    dao = await h.factory.surrogate_dao(
        h.name(), Job, creation_model=NewJob, id_field="id", make_id=lambda: next(numbers)
    )
    assert [(await dao.insert(NewJob())).id for _ in range(2)] == [7, 8]


@cases
async def numbers_need_a_source(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.surrogate_dao(h.name(), Job, creation_model=NewJob, id_field="id")


@cases
async def equal_creations_get_different_ids(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(h.name(), Member, creation_model=NewPerson, id_field="id")
    one, two = await dao.insert(NewPerson("Grace")), await dao.insert(NewPerson("Grace"))
    assert one.id != two.id
    assert await dao.count() == 2


@cases
async def the_rest_is_as_with_natural_ids(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(h.name(), Member, creation_model=NewPerson, id_field="id")
    member = await dao.insert(NewPerson("Grace"))
    await dao.update(attrs.evolve(member, age=37))
    assert await dao.find_one({"age": 37}) == attrs.evolve(member, age=37)
    assert await dao.compare_and_set(member.id, expected={"age": 37}, changes={"age": 38}) is not None
    assert await dao.compare_and_set(member.id, expected={}, increments={"age": 2}) is not None
    assert await dao.update_many([attrs.evolve(member, age=41)]) == {}
    results = dao.find_all(limit=0)
    assert await results.total_count() == 1
    assert [found.age async for found in dao.find_all()] == [41]
    await dao.delete(member.id)
    with raises(DocumentNotFound):
        await dao.get_by_id(member.id)


@cases
async def many_are_inserted_with_ids(h: DaoHarness) -> None:
    dao = await h.factory.surrogate_dao(
        h.name(), Member, creation_model=NewPerson, id_field="id", indexes=[Index("email", unique=True)]
    )
    results = await dao.insert_many(NewPerson("x", email=email) for email in ("a", "b", "a"))
    assert [type(result) for result in results] == [Member, Member, UniqueViolation]
    assert await dao.count() == 2
    assert isinstance(results[1], Member)
    assert await dao.get_by_id(results[1].id) == results[1]


@cases
async def a_creation_model_with_other_fields_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.surrogate_dao(h.name(), Job, creation_model=NewPerson, id_field="id", make_id=lambda: 1)


@cases
async def a_creation_model_with_the_id_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.surrogate_dao(h.name(), Person, creation_model=Person, id_field="id")
