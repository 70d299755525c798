"""The order of documents, and what they cannot be sorted by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from persistence.errors import InvalidQuery
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.pages import ids, some_people
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Colour, Everything, Job, Level, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


def _lowest_first(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


@cases
async def without_a_sort_everything_is_found_in_some_order(h: DaoHarness) -> None:
    dao = await some_people(h)
    assert sorted(await ids(dao)) == [f"{number:04}" for number in range(30)]
    assert len(set(await ids(dao, skip=3, limit=20))) == 20


@cases.each(ascending=["age"], descending=["-age"], pair=[("age", -1)], nested=["address.city"], by_id=["-id"])
async def documents_are_sorted(h: DaoHarness, sort: object) -> None:
    assert isinstance(sort, list)
    dao = await some_people(h)
    everybody = [person async for person in dao.find_all()]
    found = await ids(dao, sort=sort)
    entry = sort[0]
    field, down = entry if isinstance(entry, tuple) else (entry.lstrip("-"), -1 if entry[0] == "-" else 1)
    expected = sorted(everybody, key=lambda person: person.id)
    expected.sort(key=attrgetter(field), reverse=down < 0)
    assert found == [person.id for person in expected]


@cases
async def documents_are_sorted_by_several_fields(h: DaoHarness) -> None:
    dao = await some_people(h)
    everybody = [person async for person in dao.find_all()]
    expected = sorted(everybody, key=lambda p: (-p.age, p.name, p.id))
    assert await ids(dao, sort=["-age", "name"]) == [person.id for person in expected]


@cases
async def none_sorts_first(h: DaoHarness) -> None:
    dao = await some_people(h)
    found = [person.email async for person in dao.find_all(sort=["email"])]
    assert found == sorted(found, key=_lowest_first)
    assert found[0] is None
    found = [person.email async for person in dao.find_all(sort=["-email"])]
    assert found[-1] is None
    assert found == sorted(found, key=_lowest_first, reverse=True)


@cases
async def text_sorts_by_code_points(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    names = ["b", "B", "a", "", "ä", "z", "🎉", "\uffee", "aa", "$", "%", "10", "9"]
    await dao.insert_many([Person(str(number), name) for number, name in enumerate(names)])
    assert [person.name async for person in dao.find_all(sort=["name"])] == sorted(names)


@cases
async def times_sort(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    jobs = [Job(number, due=None if number == 3 else start - timedelta(hours=number)) for number in range(6)]
    await dao.insert_many(jobs)
    assert [job.id async for job in dao.find_all(sort=["due"])] == [3, 5, 4, 2, 1, 0]
    assert [job.id async for job in dao.find_all(sort=["due"], after=jobs[4])] == [2, 1, 0]
    assert [job.id async for job in dao.find_all(sort=["-due"], after=jobs[4])] == [5, 3]


@cases
async def numbers_sort_as_ids(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert_many([Job(number) for number in (10, 9, -3, 100)])
    assert [job.id async for job in dao.find_all(sort=["id"])] == [-3, 9, 10, 100]
    assert [job.id async for job in dao.find_all(sort=["-id"], after=Job(10))] == [9, -3]


@cases.each(
    mapping={"age": -1},
    unordered={"age", "name"},
    unknown=["nickname"],
    text="age",
    direction=[("age", 2)],
    twice=["age", "-age"],
    odd=[5],
    empty=[""],
    into_list=["tags.0"],
)
async def a_bad_sort_is_refused(h: DaoHarness, sort: object) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    with raises(InvalidQuery):
        await ids(dao, sort=sort)


@cases.each(
    anything="anything",
    union="either",
    lists="texts",
    models="people",
    model="nested",
    dicts="by_name",
    inside="anything.x",
)
async def a_field_without_one_order_is_refused(h: DaoHarness, field: object) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    with raises(InvalidQuery):
        [item async for item in dao.find_all(sort=[str(field)])]


@cases.each(
    flag="flag",
    whole="whole",
    real="real",
    raw="raw",
    ref="ref",
    when="when",
    colour="colour",
    level="level",
    nested="nested.zip",
    maybe="maybe.city",
    inside="by_name.a",
)
async def a_field_with_one_order_is_sorted_by(h: DaoHarness, field: object) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    items = [
        Everything(
            UUID(int=number),
            number % 2 > 0,
            -number,
            number / 3,
            str(number),
            bytes([9 - number]),
            UUID(int=99 - number),
            datetime(2024, 1, 9 - number, tzinfo=UTC),
            list(Colour)[number % 2],
            list(Level)[number % 2],
            Address("", -number),
            None if number % 3 else Address(str(9 - number)),
            by_name={"a": number % 4},
        )
        for number in range(7)
    ]
    await dao.insert_many(items)
    found = [item async for item in dao.find_all(sort=[str(field)])]
    assert len(found) == 7
    again: list[Everything] = []
    while page := [item async for item in dao.find_all(sort=[str(field)], limit=2, after=again[-1] if again else None)]:
        again += page
    assert again == found
    assert [item async for item in dao.find_all(sort=[f"-{field}", "-id"])] == found[::-1]


@cases
async def as_many_fields_as_allowed_are_sorted_by(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    items = [Everything(UUID(int=number), by_name={f"k{at}": number % 2 for at in range(32)}) for number in range(6)]
    await dao.insert_many(items)
    sort = [f"by_name.k{at}" for at in range(31)]
    found = [item.id.int async for item in dao.find_all(sort=sort)]
    assert found == [0, 2, 4, 1, 3, 5]
    assert [item.id.int async for item in dao.find_all(sort=sort, after=items[4])] == [1, 3, 5]
    with raises(InvalidQuery):
        [item async for item in dao.find_all(sort=[*sort, "by_name.k31"])]
