"""Options of indexes, and indexes that are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs

from persistence.documents import Index
from persistence.errors import InvalidName, InvalidQuery, UniqueViolation
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Colour, Everything, Job, Level, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@attrs.frozen
class Optional:
    """A field of every kind that may be missing."""

    id: int
    text: str | None = None
    whole: int | None = None
    real: float | None = None
    flag: bool | None = None
    raw: bytes | None = None
    ref: UUID | None = None
    when: datetime | None = None
    colour: Colour | None = None
    level: Level | None = None
    either: int | str | None = None
    nested: Address | None = None


@attrs.frozen
class Wide:
    """Fields with long names, told apart by their ends only."""

    id: int
    a_field_whose_name_is_so_long_that_the_name_of_an_index_over_it_would_be_cut_and_be_that_of_the_other_one_1: int
    a_field_whose_name_is_so_long_that_the_name_of_an_index_over_it_would_be_cut_and_be_that_of_the_other_one_2: int


@cases.each(
    list_="texts", tuple_="pair", list_of_models="people", dict_="by_name", model="nested", maybe_model="maybe",
    anything="anything", inside_anything="anything.x", inside_a_list="people.city", element="texts.0",
    unknown="nickname", id_="id",
)  # fmt: skip
async def a_field_that_cannot_be_indexed_alike_is_refused(h: DaoHarness, field: object) -> None:
    for index in (Index(str(field)), Index(str(field), unique=True), Index(("text", str(field)))):
        if field != "id" or index.fields == ("id",):
            with raises(InvalidQuery):
                await h.factory.dao(h.name(), Everything, id_field="id", indexes=[index])


@cases
async def every_other_field_can_be_indexed(h: DaoHarness) -> None:
    fields = ["flag", "whole", "real", "text", "raw", "ref", "when", "colour", "level", "nested.city", "maybe.zip"]
    fields += ["by_name.x", "either"]
    indexes = [Index(field) for field in fields] + [Index((field, "id"), unique=True) for field in fields]
    dao = await h.factory.dao(h.name(), Everything, id_field="id", indexes=indexes)
    one, two = Everything(), Everything()
    await dao.insert_many([one, two])
    for field in fields[:-1]:
        assert {thing.id async for thing in dao.find_all(sort=[field])} == {one.id, two.id}


@cases
async def a_field_inside_of_nothing_counts_as_none(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Optional, id_field="id", indexes=[Index("nested.zip", unique=True)])
    await dao.insert(Optional(1))
    with raises(UniqueViolation) as caught:
        await dao.insert(Optional(2, nested=Address("Rome")))
    assert caught.error.fields == ("nested.zip",)
    await dao.insert(Optional(3, nested=Address("Rome", 1)))


@cases.each(
    text=("text", ["", "a", "$", "\0"]), whole=("whole", [0, -(2**63), 2**63 - 1]), real=("real", [0.0, -1e308]),
    flag=("flag", [False, True]), raw=("raw", [b"", b"\0"]), ref=("ref", [UUID(int=0), UUID(int=2**128 - 1)]),
    when=("when", [datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]), colour=("colour", list(Colour)),
    level=("level", list(Level)), either=("either", [0, "0", ""]), nested=("nested.city", ["", "x"]),
)  # fmt: skip
async def a_sparse_unique_index_knows_no_none(h: DaoHarness, given: Any) -> None:
    field, values = given
    dao = await h.factory.dao(h.name(), Optional, id_field="id", indexes=[Index(field, unique=True, sparse=True)])

    def thing(id_: int, value: Any) -> Optional:
        return Optional(id_, nested=Address(value)) if "." in field else Optional(id_, **{field: value})

    await dao.insert(Optional(0))
    await dao.insert(Optional(1))
    for number, value in enumerate(values, 2):
        await dao.insert(thing(number, value))
    for value in values:
        with raises(UniqueViolation):
            await dao.insert(thing(100, value))
        with raises(UniqueViolation):
            await dao.update(thing(0, value))
    assert await dao.count() == 2 + len(values)
    await dao.update(Optional(2))
    await dao.insert(thing(100, values[0]))


@cases
async def a_sparse_index_over_two_fields_leaves_out_two_nones(h: DaoHarness) -> None:
    index = Index(("text", "whole"), unique=True, sparse=True)
    dao = await h.factory.dao(h.name(), Optional, id_field="id", indexes=[index])
    await dao.insert_many([Optional(1), Optional(2), Optional(3, text="a"), Optional(4, whole=1)])
    assert await dao.count() == 4
    for double in (Optional(5, text="a"), Optional(5, whole=1)):
        with raises(UniqueViolation) as caught:
            await dao.insert(double)
        assert caught.error.fields == ("text", "whole")


@cases.each(
    equal=({"name": "x"}, Person("", "x")), none=({"email": None}, Person("")),
    range=({"age": {"$gte": 36}}, Person("")), between=({"age": {"$gt": 5, "$lt": 50}}, Person("")),
    in_=({"name": {"$in": ["x", "*/'"]}}, Person("", "*/'")),
    or_=({"$or": [{"name": "x"}, {"age": 36}]}, Person("")), nested=({"address.city": "London"}, Person("")),
    and_=({"name": "Ada", "age": {"$lte": 36}}, Person("")),
)  # fmt: skip
async def a_partial_unique_index_is_over_what_matches(h: DaoHarness, given: Any) -> None:
    where, inside = given
    outside = Person("", "other", 5, "e", Address("Rome"))
    index = Index(("name", "age"), unique=True, where=where)
    dao = await h.factory.dao(h.name(), Person, id_field="id", indexes=[index])
    await dao.insert_many([attrs.evolve(outside, id="1"), attrs.evolve(outside, id="2"), attrs.evolve(inside, id="3")])
    assert await dao.count() == 3
    with raises(UniqueViolation) as caught:
        await dao.insert(attrs.evolve(inside, id="4"))
    assert caught.error.fields == ("name", "age")
    with raises(UniqueViolation):
        await dao.update(attrs.evolve(inside, id="1"))
    await dao.update(attrs.evolve(outside, id="3"))
    await dao.insert(attrs.evolve(inside, id="4"))


@cases.each(
    ne={"name": {"$ne": "x"}}, nin={"name": {"$nin": ["x"]}}, not_={"$not": {"name": "x"}},
    contains={"tags": {"$contains": "x"}}, list_={"tags": ["x"]}, model={"address": {"city": "x", "zip": None}},
    inside={"$or": [{"name": "x"}, {"age": {"$ne": 1}}]}, unknown={"nickname": "x"}, everything={},
)  # fmt: skip
async def a_partial_index_by_what_not_all_know_is_refused(h: DaoHarness, where: Any) -> None:
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Person, id_field="id", indexes=[Index("age", where=where)])


@cases
async def sparse_and_partial_go_together(h: DaoHarness) -> None:
    index = Index("email", unique=True, sparse=True, where={"age": 1})
    dao = await h.factory.dao(h.name(), Person, id_field="id", indexes=[index])
    await dao.insert_many([Person("1", age=1), Person("2", age=1), Person("3", email="a"), Person("4", email="a")])
    await dao.insert(Person("5", age=1, email="a"))
    with raises(UniqueViolation):
        await dao.insert(Person("6", age=1, email="a"))
    assert await dao.count() == 5


@cases
async def no_option_changes_an_answer(h: DaoHarness) -> None:
    plain = await h.factory.dao(h.name(), Person, id_field="id")
    indexes = [
        Index("-age"), Index({"name": 1, "age": -1}), Index([("email", -1), "name"], name="by-email"),
        Index("email", sparse=True), Index("name", where={"age": {"$gt": 1}}),
        Index(("email", "-id"), unique=True, sparse=True), Index(("-age", "id"), unique=True, where={"name": "n1"}),
    ]  # fmt: skip
    indexed = await h.factory.dao(h.name(), Person, id_field="id", indexes=indexes)
    crowd = [Person(f"{n:02}", f"n{n % 3}", n % 4, None if n % 2 else f"e{n % 5}") for n in range(40)]
    for dao in (plain, indexed):
        await dao.insert_many(crowd)
    for where in ({}, {"age": 2}, {"age": {"$gt": 1}}, {"name": "n1"}, {"email": None}, {"email": {"$gt": "e1"}}):
        for sort in (["id"], ["-age"], ["age", "-name"], ["email"], ["-email", "name"], ["name", "-age"]):
            for limit in (None, 7):
                one = [p.id async for p in plain.find_all(where, sort=sort, limit=limit)]
                two = [p.id async for p in indexed.find_all(where, sort=sort, limit=limit)]
                assert one == two, (where, sort)


@cases
async def a_partial_index_by_what_may_be_a_list_is_refused(h: DaoHarness) -> None:
    for where in ({"anything": 5}, {"texts": None}, {"$or": [{"by_name": {}}, {"whole": 1}]}):
        with raises(InvalidQuery):
            await h.factory.dao(h.name(), Everything, id_field="id", indexes=[Index("whole", where=where)])


@cases
async def an_index_may_end_with_the_id_or_not(h: DaoHarness) -> None:
    name = h.name()
    for fields in ("age", ("age", "id"), ("age", "-id"), ("age", "id", "name")):
        dao = await h.factory.dao(name, Person, id_field="id", indexes=[Index(fields)])
    await dao.insert_many([Person("1", age=2), Person("2", age=1), Person("3", age=1)])
    assert [person.id async for person in dao.find_all(sort=["age", "-id"])] == ["3", "2", "1"]


@cases
async def the_same_index_may_be_declared_again_under_any_name(h: DaoHarness) -> None:
    name = h.name()
    options: dict[str, Any] = {"unique": True, "sparse": True, "where": {"age": {"$in": [1, 2]}}}
    for label in ("", "first", "second"):
        indexes = [Index("email", name=label, **options), Index(("-age", "name"), name=label and f"{label}-age")]
        dao = await h.factory.dao(name, Person, id_field="id", indexes=[*indexes, *indexes])
    await dao.insert(Person("1", age=1, email="a"))
    with raises(UniqueViolation) as caught:
        await dao.insert(Person("2", age=2, email="a"))
    assert caught.error.fields == ("email",)


@cases.each(
    sparse=Index("due", unique=True, sparse=True), partial=Index("due", unique=True, where={"state": "new"}),
    expiring=Index("due", unique=True, expire_after=9), other_fields=Index("owner", unique=True, name="due_unique"),
    other_kind=Index("due", name="due_unique"), capitals=Index("owner", name="DUE_UNIQUE"),
)  # fmt: skip
async def an_index_that_contradicts_another_is_refused(h: DaoHarness, other: Any) -> None:
    first = Index("due", unique=True)
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Job, id_field="id", indexes=[first, other])
    for one, two in ((first, other), (other, first)):
        name = h.name()
        dao = await h.factory.dao(name, Job, id_field="id", indexes=[one])
        with raises(InvalidQuery):
            await h.factory.dao(name, Job, id_field="id", indexes=[two])
        await dao.insert(Job(1))


@cases
async def long_names_are_told_apart(h: DaoHarness) -> None:
    fields = [field.name for field in attrs.fields(Wide)][1:]
    indexes = [Index(field, unique=True) for field in fields] + [
        Index((field, f"-{fields[0]}")) for field in fields[1:]
    ]
    dao = await h.factory.dao(h.name(), Wide, id_field="id", indexes=indexes)
    await dao.insert(Wide(1, 1, 1))
    for double, field in ((Wide(2, 1, 2), fields[0]), (Wide(2, 2, 1), fields[1])):
        with raises(UniqueViolation) as caught:
            await dao.insert(double)
        assert caught.error.fields == (field,)


@cases
async def names_of_two_collections_do_not_meet(h: DaoHarness) -> None:
    name = h.name()
    first = await h.factory.dao(name, Person, id_field="id", indexes=[Index("address.city", unique=True)])
    second = await h.factory.dao(f"{name}__address", Visit, id_field="id", indexes=[Index("city", unique=True)])
    await first.insert(Person("1"))
    await second.insert(Visit(1, "London"))
    with raises(UniqueViolation):
        await first.insert(Person("2"))
    with raises(UniqueViolation):
        await second.insert(Visit(2, "London"))


@attrs.frozen
class Visit:
    """A model with a field named like a nested one of a person."""

    id: int
    city: str


@cases
async def what_no_database_can_index_is_refused(h: DaoHarness) -> None:
    for fields in ([], [f"f{number}" for number in range(32)], ["age", "age"], ["age", "-age"], [("age", 2)], [1]):
        with raises(InvalidQuery):
            Index(fields)  # type: ignore[arg-type]
    for name in ("$x", "a" * 121, "a/b", "_id_", " "):
        with raises(InvalidName):
            Index("age", name=name)
    for seconds in (-1, 2**31, 0.5, True):
        with raises(InvalidQuery):
            Index("age", expire_after=seconds)  # type: ignore[arg-type]
    too_many = [Index("age", name=f"i{number}", where={"age": number}) for number in range(64)]
    with raises(InvalidQuery):
        await h.factory.dao(h.name(), Person, id_field="id", indexes=too_many)
    for index in (Index("state", expire_after=1), Index(("due", "state"), expire_after=1)):
        with raises(InvalidQuery):
            await h.factory.dao(h.name(), Job, id_field="id", indexes=[index])
