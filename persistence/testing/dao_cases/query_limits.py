"""Queries that are refused, and how large one may be."""

from __future__ import annotations

from persistence.errors import InvalidQuery
from persistence.testing.cases import Cases
from persistence.testing.dao_cases.queries import PEOPLE
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


_REFUSED: dict[str, object] = {
    "unknown_field": {"nickname": "A"},
    "unknown_nested": {"address.street": "A"},
    "into_text": {"name.first": "A"},
    "into_a_list": {"tags.0": "A"},
    "unknown_operator": {"age": {"$near": 5}},
    "top_level_operator": {"$where": "1"},
    "and_without_list": {"$and": {"age": 1}},
    "empty_or": {"$or": []},
    "in_without_list": {"age": {"$in": 5}},
    "range_with_none": {"age": {"$gt": None}},
    "range_with_list": {"age": {"$gt": [1]}},
    "list_with_text": {"tags": "maths"},
    "contains_in_text": {"name": {"$contains": "A"}},
    "mixed_operators": {"age": {"$gt": 1, "x": 2}},
    "not_a_mapping": "age",
    "no_text_key": {5: 5},
    "object": {"name": object()},
    "nan": {"age": float("nan")},
    "exists_of_a_number": {"age": {"$exists": 1}},
    "exists_unknown": {"nickname": {"$exists": True}},
    "size_of_text": {"name": {"$size": 3}},
    "size_negative": {"tags": {"$size": -1}},
    "size_true": {"tags": {"$size": True}},
    "size_huge": {"tags": {"$size": 2**31}},
    "empty_nor": {"$nor": []},
    "regex_number": {"name": {"$regex": 5}},
    "regex_in_a_list": {"tags": {"$regex": "a"}},
    "regex_group": {"name": {"$regex": "(a|b)"}},
    "regex_repetition": {"name": {"$regex": "a+"}},
    "regex_nested_repetition": {"name": {"$regex": "(a*)*b"}},
    "regex_lookahead": {"name": {"$regex": "(?=a)"}},
    "regex_inline_flag": {"name": {"$regex": "(?i)a"}},
    "regex_backreference": {"name": {"$regex": r"a\1"}},
    "regex_boundary": {"name": {"$regex": r"\bA"}},
    "regex_reversed_range": {"name": {"$regex": "[z-a]"}},
    "regex_posix_class": {"name": {"$regex": "[[:alpha:]]"}},
    "regex_open_bracket": {"name": {"$regex": "[a"}},
    "regex_trailing_backslash": {"name": {"$regex": "a\\"}},
    "regex_options": {"name": {"$regex": "a", "$options": "m"}},
    "options_alone": {"name": {"$options": "i"}},
    "regex_surrogate": {"name": {"$regex": "\ud800"}},
    "regex_long": {"name": {"$regex": "a" * 251}},
    "injection": {'name") OR ("1': "A"},
    "too_many": {"$or": [{"age": number} for number in range(1001)]},
    "too_many_values": {"age": {"$in": list(range(10_001))}},
    "too_many_values_in_all": {"$or": [{"age": {"$in": list(range(number, number + 5_000))}} for number in range(3)]},
    "too_large": {"name": "x" * 9 * 1024**2},
    "too_large_in_all": {"name": {"$in": [str(number) + "x" * 1024**2 for number in range(9)]}},
}


@cases.each(**_REFUSED)
async def a_query_is_refused(h: DaoHarness, where: object) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    with raises(InvalidQuery):
        await dao.find_one(where)  # type: ignore[arg-type]
    with raises(InvalidQuery):
        await dao.count(where)  # type: ignore[arg-type]
    with raises(InvalidQuery):
        async for _ in dao.find_all(where):  # type: ignore[arg-type]
            pass


@cases
async def a_deep_query_is_refused_or_answered(h: DaoHarness) -> None:
    where: dict[str, object] = {"age": 36}
    for _ in range(4):
        where = {"$not": {"$or": [where, *({"age": -5 - number} for number in range(20))]}}
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert_many(PEOPLE)
    assert await dao.count(where) == 2
    for _ in range(100):
        where = {"$not": where}
    with raises(InvalidQuery):
        await dao.count(where)


@cases
async def a_query_with_many_values(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert_many(PEOPLE)
    assert await dao.count({"id": {"$in": [str(number) for number in range(5_000)]}}) == 5
    assert await dao.count({"age": {"$in": list(range(40))}}) == 2


@cases.each(
    texts=("name", ["Ada", *(f"no {number}" for number in range(9_999))]),
    numbers=("age", list(range(10_000))),
    truth=("age", [True, 36] * 2_000),
    lists=("tags", [["maths"], *([str(number)] for number in range(4_000))]),
    models=("address", [Address("London", number) for number in range(2_000)]),
)
async def a_query_with_as_many_values_as_allowed(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, values = entry
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert_many(PEOPLE)
    assert await dao.count({field: {"$in": values}}) > 0
    assert (
        await dao.count(
            {"$and": [{field: {"$in": values}}, {field: {"$nin": values}}]}
            if len(values) < 5_000
            else {field: {"$nin": values}}
        )
        < 5
    )


@cases
async def a_query_with_many_conditions(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert_many(PEOPLE)
    assert await dao.count({"$or": [{"tags": [str(number)]} for number in range(997)] + [{"tags": ["maths"]}]}) == 1
    assert await dao.count({"$and": [{"address.zip": {"$ne": number + 3}} for number in range(400)]}) == 5
