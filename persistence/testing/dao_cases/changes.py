"""`compare_and_set`: changes only where the expected values still hold."""

from __future__ import annotations

import anyio

from persistence.errors import DocumentNotFound, InvalidQuery, InvalidValue
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.writes import people
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Colour, Everything, Job, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@cases
async def a_change_where_values_hold(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Ada", 36))
    changed = await dao.compare_and_set("1", expected={"age": 36}, changes={"age": 37, "email": "a@b"})
    assert changed == Person("1", "Ada", 37, "a@b")
    assert await dao.get_by_id("1") == changed


@cases
async def no_change_where_they_do_not(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", "Ada", 36))
    assert await dao.compare_and_set("1", expected={"age": 35}, changes={"age": 37}) is None
    assert await dao.get_by_id("1") == Person("1", "Ada", 36)


@cases
async def a_change_with_nothing_expected(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    changed = await dao.compare_and_set("1", expected={}, changes={"name": "Grace"})
    assert changed is not None
    assert changed.name == "Grace"


@cases
async def a_change_of_a_missing_document_is_refused(h: DaoHarness) -> None:
    dao = await people(h)
    with raises(DocumentNotFound):
        await dao.compare_and_set("missing", expected={}, changes={"name": "Grace"})


@cases
async def a_change_to_the_same_value_counts(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    assert await dao.compare_and_set("1", expected={"age": 36}, changes={"age": 36}) == Person("1")


@cases
async def none_can_be_expected_and_set(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1"))
    assert await dao.compare_and_set("1", expected={"email": None}, changes={"email": "a@b"}) is not None
    assert await dao.compare_and_set("1", expected={"email": None}, changes={"email": "c@d"}) is None
    assert await dao.compare_and_set("1", expected={"email": "a@b"}, changes={"email": None}) == Person("1")


@cases
async def a_query_can_be_expected(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", age=36))
    expected = {"$or": [{"age": {"$gt": 40}}, {"name": {"$in": ["Ada"]}}]}
    assert await dao.compare_and_set("1", expected=expected, changes={"age": 1}) is not None


@cases
async def nested_fields_change_alone(h: DaoHarness) -> None:
    dao = await people(h)
    await dao.insert(Person("1", address=Address("London", 5)))
    changed = await dao.compare_and_set("1", expected={"address.city": "London"}, changes={"address.city": "Rome"})
    assert changed is not None
    assert changed.address == Address("Rome", 5)
    assert (await dao.get_by_id("1")).address == Address("Rome", 5)


@cases
async def whole_values_change(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = await dao.insert(Everything())
    changes = {
        "nested": Address("Rome"), "texts": ["a"], "people": [Address("A", 1)], "colour": Colour.GREEN,
        "raw": b"\0", "by_name": {"a": 1}, "maybe": Address("Oslo"), "pair": (2, "two"),
    }  # fmt: skip
    changed = await dao.compare_and_set(item.id, expected={}, changes=changes)
    assert changed is not None
    for field, value in changes.items():
        assert getattr(changed, field) == value, field
    assert await dao.get_by_id(item.id) == changed


@cases
async def a_field_inside_nothing_cannot_be_set(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = await dao.insert(Everything(maybe=None))
    with raises(InvalidValue):
        await dao.compare_and_set(item.id, expected={}, changes={"maybe.city": "Rome"})
    assert await dao.get_by_id(item.id) == item


@cases
async def a_key_of_a_dict_can_be_set(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = await dao.insert(Everything(by_name={"a": 1}))
    changed = await dao.compare_and_set(item.id, expected={"by_name.b": None}, changes={"by_name.b": 2})
    assert changed is not None
    assert changed.by_name == {"a": 1, "b": 2}


@cases.each(
    the_id={"id": "2"},
    nothing={},
    unknown={"nickname": "x"},
    twice={"address": Address("A"), "address.city": "B"},
    into_list={"tags.0": "x"},
    operator={"$set": {"age": 1}},
)
async def bad_changes_are_refused(h: DaoHarness, changes: object) -> None:
    assert isinstance(changes, dict)
    dao = await people(h)
    await dao.insert(Person("1"))
    with raises(InvalidQuery):
        await dao.compare_and_set("1", expected={}, changes=changes)
    assert await dao.get_by_id("1") == Person("1")


@cases.each(text={"age": "36"}, none={"name": None}, true={"age": True}, model={"address": 5}, in_list={"tags": [5]})
async def values_of_another_type_are_refused(h: DaoHarness, changes: object) -> None:
    assert isinstance(changes, dict)
    dao = await people(h)
    await dao.insert(Person("1"))
    with raises(InvalidValue):
        await dao.compare_and_set("1", expected={}, changes=changes)
    assert await dao.get_by_id("1") == Person("1")


@cases
async def of_many_at_once_one_wins(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert(Job(1))
    winners: list[str] = []

    async def take(owner: str) -> None:
        changes = {"state": "taken", "owner": owner}
        if await dao.compare_and_set(1, expected={"state": "new"}, changes=changes) is not None:
            winners.append(owner)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(take, f"worker-{number}")
    assert [(await dao.get_by_id(1)).owner] == winners


@cases
async def a_version_lock_loses_no_update(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert(Job(1))

    async def count_up() -> None:
        while True:
            job = await dao.get_by_id(1)
            if await dao.compare_and_set(1, expected={"version": job.version}, changes={"version": job.version + 1}):
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(count_up)
    assert (await dao.get_by_id(1)).version == 8
