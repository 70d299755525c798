"""Skip, limit, and continuing behind a document."""

from __future__ import annotations

from typing import Any

from persistence.documents import Dao
from persistence.errors import InvalidQuery
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


async def some_people(h: DaoHarness, count: int = 30) -> Dao[Person]:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    crowd = [
        Person(
            f"{number:04}", f"name-{number % 7}", number % 5, None if number % 3 else f"e{number % 4}",
            Address(f"city-{number % 2}", None if number % 2 else number),
        )
        for number in range(count)
    ]  # fmt: skip
    assert await dao.insert_many(crowd) == {}
    return dao


async def ids(dao: Dao[Person], **options: Any) -> list[str]:
    return [person.id async for person in dao.find_all(**options)]


@cases
async def skip_and_limit_cut(h: DaoHarness) -> None:
    dao = await some_people(h)
    everybody = await ids(dao, sort=["age"])
    for skip, limit in ((0, 5), (5, 10), (28, 10), (30, 5), (99, 1), (7, None), (0, 0), (3, 0)):
        stop = None if limit is None else skip + limit
        assert await ids(dao, sort=["age"], skip=skip, limit=limit) == everybody[skip:stop], (skip, limit)


@cases
async def skip_and_limit_apply_to_matches(h: DaoHarness) -> None:
    dao = await some_people(h)
    assert await ids(dao, where={"age": 1}, sort=["id"], skip=2, limit=2) == ["0011", "0016"]


@cases
async def more_than_a_page_is_found(h: DaoHarness) -> None:
    dao = await some_people(h, 2203)
    everybody = [f"{number:04}" for number in range(2203)]
    assert sorted(await ids(dao)) == everybody
    assert await ids(dao, sort=["id"]) == everybody
    assert len(await ids(dao, sort=["-age", "email"])) == 2203
    assert len(await ids(dao, sort=["email"], skip=700)) == 1503
    assert len(set(await ids(dao, limit=2000))) == 2000


@cases
async def an_iteration_may_be_left_early(h: DaoHarness) -> None:
    dao = await some_people(h, 2203)
    async for person in dao.find_all(sort=["id"]):
        assert person.id == "0000"
        break
    assert await dao.count() == 2203


@cases
async def documents_may_be_changed_while_iterating(h: DaoHarness) -> None:
    dao = await some_people(h, 40)
    seen = 0
    async for person in dao.find_all({"age": {"$lt": 2}}):
        await dao.delete(person.id)
        seen += 1
    assert seen == 16
    assert await dao.count() == 24


@cases.each(
    by_id=["id"],
    by_age=["age"],
    down=["-age"],
    with_none=["email"],
    with_none_down=["-email"],
    two=["age", "-name"],
    nested=["address.zip"],
    nested_down=["-address.zip", "age"],
    id_down=["-id"],
    three=["-email", "age", "-id"],
)
async def pages_follow_each_other(h: DaoHarness, sort: object) -> None:
    assert isinstance(sort, list)
    dao = await some_people(h)
    expected = await ids(dao, sort=sort)
    found: list[str] = []
    last: Person | None = None
    while page := [person async for person in dao.find_all(sort=sort, limit=4, after=last)]:
        found += [person.id for person in page]
        last = page[-1]
    assert found == expected


@cases
async def pages_of_matches_follow_each_other(h: DaoHarness) -> None:
    dao = await some_people(h)
    where = {"$or": [{"age": 1}, {"email": None}]}
    expected = await ids(dao, where=where, sort=["-age"])
    found: list[str] = []
    last: Person | None = None
    while page := [person async for person in dao.find_all(where, sort=["-age"], limit=3, after=last)]:
        found += [person.id for person in page]
        last = page[-1]
    assert found == expected


@cases
async def a_page_continues_behind_values(h: DaoHarness) -> None:
    dao = await some_people(h)
    everybody = await ids(dao, sort=["-age"])
    at = everybody.index("0013")
    assert await ids(dao, sort=["-age"], after={"age": 3, "id": "0013"}) == everybody[at + 1 :]


@cases
async def a_page_continues_behind_a_deleted_document(h: DaoHarness) -> None:
    dao = await some_people(h)
    last = await dao.get_by_id("0010")
    await dao.delete("0010")
    assert (await ids(dao, sort=["id"], after=last, limit=2)) == ["0011", "0012"]


@cases
async def a_continued_page_may_skip(h: DaoHarness) -> None:
    dao = await some_people(h)
    everybody = await ids(dao, sort=["email", "age"])
    last = await dao.get_by_id(everybody[4])
    for skip in (0, 1, 9, 17, 24, 25, 40):
        assert await ids(dao, sort=["email", "age"], after=last, skip=skip) == everybody[5 + skip :], skip


@cases
async def a_place_without_the_sort_fields_is_refused(h: DaoHarness) -> None:
    dao = await some_people(h, 2)
    with raises(InvalidQuery):
        await ids(dao, sort=["age"], after={"id": "0001"})


@cases
async def a_place_without_a_sort_is_refused(h: DaoHarness) -> None:
    dao = await some_people(h, 2)
    with raises(InvalidQuery):
        await ids(dao, after={"id": "0001"})


@cases
async def a_place_that_is_too_large_is_refused(h: DaoHarness) -> None:
    dao = await some_people(h, 2)
    with raises(InvalidQuery):
        await ids(dao, sort=["name"], after={"id": "0001", "name": "x" * 9 * 1024**2})


@cases
async def the_total_count_leaves_the_page_out(h: DaoHarness) -> None:
    dao = await some_people(h)
    results = dao.find_all({"age": {"$lt": 2}}, sort=["age"], skip=2, limit=3)
    assert await results.total_count() == 12
    assert len([person async for person in results]) == 3
    assert await results.total_count() == 12
    last = await dao.get_by_id("0010")
    assert await dao.find_all({"age": 0}, sort=["id"], after=last, limit=1).total_count() == 6
    assert await dao.find_all(limit=0).total_count() == 30
    assert await dao.find_all({"age": 99}).total_count() == 0


@cases
async def the_total_count_is_of_the_moment_it_is_asked(h: DaoHarness) -> None:
    dao = await some_people(h, 5)
    results = dao.find_all(limit=1)
    await dao.insert(Person("more"))
    assert await results.total_count() == 6


@cases
async def the_largest_page_is_everything(h: DaoHarness) -> None:
    dao = await some_people(h, 3)
    assert len(await ids(dao, skip=0, limit=2**62 - 1)) == 3
    assert await ids(dao, skip=2**62 - 1, limit=2**62 - 1) == []
    assert await ids(dao, sort=["age"], skip=2**62 - 1) == []


@cases.each(
    huge_skip={"skip": 2**62},
    huge_limit={"limit": 2**100},
    real={"limit": 1.0},
    negative_skip={"skip": -1},
    negative_limit={"limit": -1},
    text={"limit": "5"},
    true={"skip": True},
)
async def a_bad_page_is_refused(h: DaoHarness, options: object) -> None:
    assert isinstance(options, dict)
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    with raises(InvalidQuery):
        await ids(dao, **options)
