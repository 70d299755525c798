"""What single operators and comparisons mean, where databases differ by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import anyio
import attrs

from persistence.errors import InvalidQuery
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Everything, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@attrs.frozen
class Short:
    """A person as it was before most of its fields."""

    id: str
    name: str = "Ada"


@cases
async def a_pattern_takes_no_more_time_than_reading_the_text(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert(Person("1", "a" * 1_000_000))
    for pattern in (".*a" * 60 + "b", "^" + "a.*" * 60 + "b$", "|".join([".*a.*ab"] * 30), "a" * 200 + "b"):
        with anyio.fail_after(10):
            assert await dao.count({"name": {"$regex": pattern}}) == 0


@cases.each(
    nul=("a\0b", "a\0b", True),
    nul_class=("a\0b", "[\0]", True),
    nul_not=("ab", "\0", False),
    one=("\1", "\1", True),
    line=("a\nb", "a.b", True),
    line_end=("a\n", "a$", False),
    line_start=("b\na", "^a", False),
    digit=("٣", r"\d", False),
    word=("é", r"\w", False),
    space=("\u2003", r"\s", False),
    control=("a\tb", r"a\tb", True),
    sharp=("ß", "^.$", True),
    flag=("🎉", "^.$", True),
    kelvin=("\u212a", "k", False),
    negated=("é", "[^a-z]", True),
    json=("[1]", r"^\[1\]$", True),
    tag=("$s:x", r"^\$s:x$", True),
    hyphen=("-", "[a-]", True),
)
async def a_pattern_means_the_same(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    text, pattern, found = entry
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert(Person("1", text))
    assert await dao.count({"name": {"$regex": pattern}}) == found
    options = {"$regex": pattern, "$options": "i"}
    assert await dao.count({"name": options}) == found
    assert await dao.count({"name": {"$not": options}}) == (not found)


@cases
async def a_pattern_matches_text_only(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    for value in (["a"], {"a": "a"}, b"a", 5, None, UUID(int=10), datetime(2024, 1, 1, tzinfo=UTC), True):
        await dao.insert(Everything(anything=value))
    assert await dao.count({"anything": {"$regex": ""}}) == 0
    await dao.insert(Everything(anything="a"))
    assert await dao.count({"anything": {"$regex": ""}}) == 1


@cases
async def a_field_exists_that_holds_none_and_one_inside_none_does_not(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(maybe=Address("Oslo"), by_name={"a": 1}, anything={"x": None}))
    await dao.insert(Everything(maybe=None, anything=[{"x": 1}]))
    for field, expected in (("maybe", 2), ("maybe.zip", 1), ("by_name.a", 1), ("by_name.b", 0), ("anything.x", 1)):
        assert await dao.count({field: {"$exists": True}}) == expected, field
        assert await dao.count({field: {"$exists": False}}) == 2 - expected, field
    assert await dao.count({"maybe.zip": None}) == 2


@cases
async def a_field_does_not_exist_in_documents_from_before_it(h: DaoHarness) -> None:
    name = h.name()
    before = await h.factory.dao(name, Short, id_field="id")
    await before.insert(Short("1"))
    after = await h.factory.dao(name, Person, id_field="id")
    await after.insert(Person("2"))
    assert [person.id async for person in after.find_all({"email": {"$exists": False}})] == ["1"]
    assert await after.count({"email": None}) == 2


@cases
async def paths_do_not_lead_through_lists(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(anything=[{"x": 1}, ["a"]]))
    await dao.insert(Everything(anything={"x": 1}))
    await dao.insert(Everything(anything={"x": [{"y": 1}]}))
    assert await dao.count({"anything.x": 1}) == 1
    assert await dao.count({"anything.x": {"$ne": 1}}) == 2
    assert await dao.count({"anything.x": None}) == 1
    assert await dao.count({"anything.x.y": 1}) == 0
    assert await dao.count({"anything.x": {"$size": 1}}) == 1
    assert await dao.count({"anything.0.x": 1}) == 0
    assert await dao.count({"anything": ["a"]}) == 0
    with raises(InvalidQuery):
        await dao.count({"anything" + ".x" * 250: None})


@cases
async def numbers_are_equal_inside_lists_and_dicts(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(anything=[1, {"a": 2.0}, -0.0]))
    await dao.insert(Everything(anything={"a": [1.0, 1e300]}))
    await dao.insert(Everything(anything=[True, "1"]))
    assert await dao.count({"anything": [1.0, {"a": 2}, 0]}) == 1
    assert await dao.count({"anything": {"$in": [{"a": [1, 1e300]}, [1, "1"]]}}) == 1
    assert await dao.count({"anything": {"$contains": {"a": 2}}}) == 1
    assert await dao.count({"anything": {"$ne": [1.0, {"a": 2}, 0]}}) == 2
    assert await dao.count({"anything": {"a": [1, 10**300 // 10**299]}}) == 0


@cases
async def dicts_are_equal_with_their_keys_in_one_order(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(by_name={"b": 1, "a": 2}, anything=[{"b": 1, "a": 2}]))
    assert await dao.count({"anything": {"$contains": {"b": 1, "a": 2}}}) == 1
    assert await dao.count({"anything": {"$contains": {"a": 2, "b": 1}}}) == 0
    assert await dao.count({"$and": [{"by_name.a": 2}, {"by_name.b": 1}]}) == 1


@cases
async def ranges_keep_bytes_and_uuids_apart(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    for value in (b"", b"x" * 16, b"x" * 17, UUID(int=0), UUID(int=2**128 - 1), [b"x"]):
        await dao.insert(Everything(anything=value))
    assert await dao.count({"anything": {"$gte": b""}}) == 3
    assert await dao.count({"anything": {"$lt": b"x" * 17}}) == 2
    assert await dao.count({"anything": {"$gte": UUID(int=0)}}) == 2
    assert await dao.count({"anything": {"$lt": UUID(int=5)}}) == 1
