"""Single documents: insert, get, update, upsert, delete."""

from __future__ import annotations

from uuid import UUID, uuid4

import attrs

from persistence.documents import Dao
from persistence.errors import (
    AlreadyExists,
    DocumentExists,
    DocumentNotFound,
    InvalidName,
    InvalidQuery,
    InvalidValue,
    NotFound,
)
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Everything, Job, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


async def people(h: DaoHarness) -> Dao[Person]:
    return await h.factory.dao(h.name(), Person, id_field="id")


@cases
async def an_inserted_document_is_found(h: DaoHarness) -> None:
    dao = await people(h)
    person = Person("1", "Grace", 37, "grace@example.org")
    assert await dao.insert(person) == person
    assert await dao.get_by_id("1") == person


@cases
async def a_missing_document_is_not_found(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(DocumentNotFound) as caught:
        await dao.get_by_id("missing")
    assert isinstance(caught.error, NotFound)
    assert caught.error.id == "missing"


@cases
async def inserting_an_id_twice_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Grace"))
    with raises(DocumentExists) as caught:
        await dao.insert(Person("1", "Ada"))
    assert isinstance(caught.error, AlreadyExists)
    assert caught.error.id == "1"
    assert (await dao.get_by_id("1")).name == "Grace"


@cases
async def an_update_replaces(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Grace", email="old@example.org"))
    await dao.update(Person("1", "Hopper"))
    assert await dao.get_by_id("1") == Person("1", "Hopper")


@cases
async def updating_a_missing_document_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(DocumentNotFound):
        await dao.update(Person("1"))
    assert await dao.count() == 0


@cases
async def updating_with_the_same_content_is_fine(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    await dao.update(Person("1"))
    assert await dao.get_by_id("1") == Person("1")


@cases
async def an_upsert_inserts(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.upsert(Person("1", "Grace"))
    assert (await dao.get_by_id("1")).name == "Grace"


@cases
async def an_upsert_replaces(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Grace", tags=["a"]))
    await dao.upsert(Person("1", "Hopper"))
    assert await dao.get_by_id("1") == Person("1", "Hopper")
    assert await dao.count() == 1


@cases
async def a_deleted_document_is_gone(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    await dao.insert(Person("2"))
    await dao.delete("1")
    with raises(DocumentNotFound):
        await dao.get_by_id("1")
    assert await dao.count() == 1


@cases
async def deleting_a_missing_document_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(DocumentNotFound):
        await dao.delete("missing")


@cases
async def a_deleted_id_can_be_inserted_again(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Grace"))
    await dao.delete("1")
    await dao.insert(Person("1", "Ada"))
    assert (await dao.get_by_id("1")).name == "Ada"


@cases
async def ids_may_be_uuids(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(uuid4())
    await dao.insert(item)
    found = await dao.get_by_id(item.id)
    assert found == item
    assert isinstance(found.id, UUID)


@cases
async def ids_may_be_numbers(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    for number in (0, -5, 2**63 - 1):
        await dao.insert(Job(number))
        assert (await dao.get_by_id(number)).id == number


@cases.each(empty="", dollar="$u:7", long="x" * 500, umlaut="Grüße 🎉", quote="a'b\"c", dots="a.b", nul="a\0b")
async def ids_may_be_any_text(h: DaoHarness, id_: object) -> None:
    assert isinstance(id_, str)
    dao = await people(h)
    await dao.insert(Person(id_))
    assert (await dao.get_by_id(id_)).id == id_
    assert await dao.find_one({"id": id_}) == Person(id_)
    await dao.delete(id_)


@cases.each(number=7, uuid=UUID(int=7), none=None, true=True)
async def an_id_of_another_type_is_refused(h: DaoHarness, id_: object) -> None:
    dao = await people(h)
    with raises(InvalidValue):
        await dao.get_by_id(id_)  # type: ignore[arg-type]
    with raises(InvalidValue):
        await dao.delete(id_)  # type: ignore[arg-type]


@cases
async def a_model_of_another_class_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(InvalidValue):
        await dao.insert(Job(1))  # type: ignore[arg-type]


@cases
async def the_id_may_be_any_field(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="name")
    await dao.insert(Person("1", "Grace"))
    await dao.insert(Person("1", "Ada"))
    assert (await dao.get_by_id("Ada")).id == "1"
    assert await dao.count({"id": "1"}) == 2
    with raises(DocumentExists):
        await dao.insert(Person("2", "Ada"))


@cases
async def an_unknown_id_field_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Person, id_field="key")


@cases
async def an_id_field_of_a_wrong_type_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Person, id_field="address")


@cases
async def a_class_that_is_no_model_is_refused(h: DaoHarness) -> None:
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), list, id_field="id")


@cases.each(empty="", digit="1a", slash="a/b", dollar="a$", reserved="system.x", sqlite="sqlite_x", long="a" * 64)
async def a_bad_collection_name_is_refused(h: DaoHarness, name: object) -> None:
    assert isinstance(name, str)
    with raises(InvalidName):
        await h.factory.dao(name, Person, id_field="id")


@cases
async def two_daos_of_one_name_see_the_same(h: DaoHarness) -> None:
    name = h.name()
    one = await h.factory.dao(name, Person, id_field="id")
    two = await h.factory.dao(name, Person, id_field="id")
    await one.insert(Person("1"))
    assert await two.get_by_id("1") == Person("1")


@cases
async def collections_are_apart(h: DaoHarness) -> None:
    one, two = await people(h), await people(h)
    await one.insert(Person("1"))
    assert await two.count() == 0


@cases
async def a_collection_may_be_named_with_dots(h: DaoHarness) -> None:
    dao = await h.factory.dao(f"{h.name()}.jobs-v1", Person, id_field="id")
    await dao.insert(Person("1"))
    assert await dao.count() == 1


@cases
async def an_old_document_that_does_not_fit_is_reported(h: DaoHarness) -> None:
    name = h.name()
    old = await h.factory.dao(name, _OldPerson, id_field="id")
    await old.insert(_OldPerson("1"))
    new = await h.factory.dao(name, Person, id_field="id")
    with raises(InvalidValue):
        await new.get_by_id("1")


@cases
async def a_new_field_with_a_default_is_filled_in(h: DaoHarness) -> None:
    name = h.name()
    old = await h.factory.dao(name, _ShortPerson, id_field="id")
    await old.insert(_ShortPerson("1", "Grace"))
    new = await h.factory.dao(name, Person, id_field="id")
    assert await new.get_by_id("1") == Person("1", "Grace")


@attrs.frozen
class _OldPerson:
    id: str
    address: str = "no address any more"


@attrs.frozen
class _ShortPerson:
    id: str
    name: str
