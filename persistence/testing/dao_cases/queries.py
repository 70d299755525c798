"""Queries: what matches."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Colour, Everything, Person

cases: Cases[DaoHarness] = Cases()


PEOPLE = [
    Person("1", "Ada", 36, None, Address("London", 1), ["maths"]),
    Person("2", "Grace", 85, "grace@navy.mil", Address("New York"), ["navy", "cobol"]),
    Person("3", "Edsger", 72, "ewd@tue.nl", Address("Nuenen", 5670), []),
    Person("4", "Barbara", 36, None, Address("London", 2), ["maths", "clu"]),
    Person("5", "Émilie", -1, "$t:2024", Address("", 0), ["$x", "[1]"]),
]

_QUERIES: dict[str, tuple[dict[str, object], str]] = {
    "everything": ({}, "12345"),
    "equal": ({"name": "Grace"}, "2"),
    "equal_number": ({"age": 36}, "14"),
    "equal_real": ({"age": 36.0}, "14"),
    "no_number_as_text": ({"age": "36"}, ""),
    "no_truth_as_number": ({"address.zip": True}, ""),
    "two_fields": ({"age": 36, "name": "Ada"}, "1"),
    "nested": ({"address.city": "London"}, "14"),
    "nested_model": ({"address": Address("London", 2)}, "4"),
    "nested_dict": ({"address": {"city": "London", "zip": 2}}, "4"),
    "none": ({"email": None}, "14"),
    "nested_none": ({"address.zip": None}, "2"),
    "not_none": ({"email": {"$ne": None}}, "235"),
    "by_id": ({"id": "3"}, "3"),
    "by_missing_id": ({"id": "9"}, ""),
    "ids": ({"id": {"$in": ["1", "5", "9"]}}, "15"),
    "eq": ({"age": {"$eq": 36}}, "14"),
    "ne": ({"age": {"$ne": 36}}, "235"),
    "ne_matches_none": ({"email": {"$ne": "ewd@tue.nl"}}, "1245"),
    "in": ({"age": {"$in": [36, 72]}}, "134"),
    "in_mixed": ({"email": {"$in": [None, "ewd@tue.nl", 5]}}, "134"),
    "in_nothing": ({"age": {"$in": []}}, ""),
    "nin": ({"age": {"$nin": [36, 72]}}, "25"),
    "nin_nothing": ({"age": {"$nin": []}}, "12345"),
    "gt": ({"age": {"$gt": 36}}, "23"),
    "gte": ({"age": {"$gte": 36}}, "1234"),
    "lt": ({"age": {"$lt": 36}}, "5"),
    "lte": ({"age": {"$lte": 36}}, "145"),
    "between": ({"age": {"$gt": -1, "$lt": 72}}, "14"),
    "real_bound": ({"age": {"$gt": 71.5}}, "23"),
    "gt_text": ({"name": {"$gt": "Barbara"}}, "235"),
    "lt_text": ({"name": {"$lt": "B"}}, "1"),
    "text_beyond_ascii": ({"name": {"$gte": "É"}}, "5"),
    "range_leaves_none_out": ({"address.zip": {"$lt": 10}}, "145"),
    "range_of_text_leaves_none_out": ({"email": {"$lt": "zzz"}}, "235"),
    "range_of_dollar_text": ({"email": {"$lte": "$t:2024"}}, "5"),
    "range_of_ids": ({"id": {"$gt": "2", "$lte": "4"}}, "34"),
    "range_of_another_kind": ({"name": {"$gt": 5}}, ""),
    "and": ({"$and": [{"age": 36}, {"name": "Barbara"}]}, "4"),
    "or": ({"$or": [{"name": "Ada"}, {"age": 72}]}, "13"),
    "or_and_field": ({"age": 36, "$or": [{"name": "Ada"}, {"name": "Edsger"}]}, "1"),
    "not": ({"$not": {"age": 36}}, "235"),
    "not_matches_none": ({"$not": {"address.zip": {"$gt": 1}}}, "125"),
    "not_of_a_field": ({"age": {"$not": {"$gt": 40}}}, "145"),
    "not_of_a_field_with_none": ({"email": {"$not": {"$gt": "f"}}}, "1345"),
    "not_not": ({"$not": {"$not": {"age": 36}}}, "14"),
    "nothing": ({"$not": {}}, ""),
    "nested_logic": (
        {"$or": [{"$and": [{"age": {"$gt": 40}}, {"$not": {"name": "Grace"}}]}, {"address.zip": 2}]},
        "34",
    ),
    "contains": ({"tags": {"$contains": "maths"}}, "14"),
    "contains_dollar": ({"tags": {"$contains": "$x"}}, "5"),
    "contains_like_json": ({"tags": {"$contains": "[1]"}}, "5"),
    "contains_nothing": ({"tags": {"$contains": "x"}}, ""),
    "contains_both": ({"$and": [{"tags": {"$contains": "maths"}}, {"tags": {"$contains": "clu"}}]}, "4"),
    "contains_not": ({"$not": {"tags": {"$contains": "maths"}}}, "235"),
    "nor": ({"$nor": [{"age": 36}, {"name": "Grace"}]}, "35"),
    "nor_of_one": ({"$nor": [{"email": None}]}, "235"),
    "exists": ({"email": {"$exists": True}}, "12345"),
    "exists_not": ({"address.zip": {"$exists": False}}, ""),
    "exists_by_id": ({"id": {"$exists": True}}, "12345"),
    "size": ({"tags": {"$size": 2}}, "245"),
    "size_of_nothing": ({"tags": {"$size": 0}}, "3"),
    "size_not": ({"tags": {"$not": {"$size": 2}}}, "13"),
    "size_in_a_range": ({"$or": [{"tags": {"$size": 0}}, {"tags": {"$size": 1}}]}, "13"),
    "regex": ({"name": {"$regex": "a.*a"}}, "4"),
    "regex_from_the_start": ({"name": {"$regex": "^[AE]"}}, "13"),
    "regex_at_the_end": ({"name": {"$regex": "[ae]$"}}, "1245"),
    "regex_of_all": ({"name": {"$regex": "^.d.$"}}, "1"),
    "regex_alternatives": ({"name": {"$regex": "^Ada$|ra"}}, "124"),
    "regex_cases_differ": ({"name": {"$regex": "ADA"}}, ""),
    "regex_ignores_case": ({"name": {"$regex": "^[a-b].*A$", "$options": "i"}}, "14"),
    "regex_ignores_case_beyond_ascii": ({"name": {"$regex": "^éM", "$options": "i"}}, "5"),
    "regex_dot_is_a_character": ({"name": {"$regex": "^.milie$"}}, "5"),
    "regex_escaped": ({"email": {"$regex": r"tue\.nl$"}}, "3"),
    "regex_dollar_text": ({"email": {"$regex": r"^\$t:\d\d\d\d$"}}, "5"),
    "regex_nothing_in_none": ({"email": {"$regex": ""}}, "235"),
    "regex_not": ({"email": {"$not": {"$regex": "@"}}}, "145"),
    "regex_of_ids": ({"id": {"$regex": "[2-3]"}}, "23"),
    "regex_of_numbers": ({"age": {"$regex": "3"}}, ""),
    "regex_and_range": ({"name": {"$regex": "a", "$gt": "B"}}, "24"),
    "whole_list": ({"tags": ["navy", "cobol"]}, "2"),
    "whole_list_in_another_order": ({"tags": ["cobol", "navy"]}, ""),
    "empty_list": ({"tags": []}, "3"),
    "list_not": ({"tags": {"$ne": []}}, "1245"),
    "list_in": ({"tags": {"$in": [["maths"], []]}}, "13"),
}


@cases.each(**_QUERIES)
async def a_query_matches(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    where, expected = entry
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    assert await dao.insert_many(PEOPLE) == {}
    found = [person async for person in dao.find_all(where, sort=["id"])]
    assert "".join(person.id for person in found) == expected
    assert all(person == PEOPLE[int(person.id) - 1] for person in found)
    assert await dao.count(where) == len(expected)
    first = await dao.find_one(where)
    assert first == (PEOPLE[int(expected[0]) - 1] if expected else None)


@cases
async def find_one_gives_the_first_by_id(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Person, id_field="id")
    await dao.insert(Person("b"))
    await dao.insert(Person("a"))
    assert (await dao.find_one({"name": "Ada"})) == Person("a")


@cases
async def ranges_over_times_bytes_and_uuids(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    items = [
        Everything(
            UUID(int=number), whole=number, when=datetime(2024, 1, number, tzinfo=UTC), ref=UUID(int=number),
            raw=bytes([number]), flag=number > 2, colour=Colour.GREEN if number > 2 else Colour.RED,
        )
        for number in (1, 2, 3, 4)
    ]  # fmt: skip
    await dao.insert_many(items)
    for where, expected in (
        ({"when": {"$gt": datetime(2024, 1, 2, tzinfo=UTC)}}, [3, 4]),
        ({"when": {"$lte": datetime(2024, 1, 2, tzinfo=UTC)}}, [1, 2]),
        ({"ref": {"$gte": UUID(int=3)}}, [3, 4]),
        ({"ref": {"$lt": UUID(int=3)}}, [1, 2]),
        ({"raw": {"$gt": b"\x03"}}, [4]),
        ({"raw": {"$lt": b"\x00\x00"}}, [1, 2, 3, 4]),
        ({"flag": {"$gt": False}}, [3, 4]),
        ({"flag": {"$lt": True}}, [1, 2]),
        ({"colour": Colour.GREEN}, [3, 4]),
        ({"colour": {"$in": [Colour.RED]}}, [1, 2]),
        ({"id": {"$gt": UUID(int=2)}}, [3, 4]),
        ({"when": {"$gt": 5}}, []),
    ):
        assert [item.whole async for item in dao.find_all(where, sort=["id"])] == expected, where


@cases
async def lists_of_models_contain(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(people=[Address("A"), Address("B", 2)], colours=[Colour.RED], anything=[1, True, b"x"])
    await dao.insert(item)
    assert await dao.count({"people": {"$contains": Address("B", 2)}}) == 1
    assert await dao.count({"people": {"$contains": Address("B")}}) == 0
    assert await dao.count({"colours": {"$contains": Colour.RED}}) == 1
    assert await dao.count({"anything": {"$contains": b"x"}}) == 1
    assert await dao.count({"anything": {"$contains": 2}}) == 0
    assert await dao.count({"anything": {"$contains": False}}) == 0


@cases
async def fields_of_dicts_are_queried(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(by_name={"a": 1, "b2": 2}, anything={"x": {"y": "z"}}))
    assert await dao.count({"by_name.b2": {"$gt": 1}}) == 1
    assert await dao.count({"by_name.none": None}) == 1
    assert await dao.count({"anything.x.y": "z"}) == 1


@cases
async def plain_equality_does_not_look_into_lists(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    await dao.insert(Everything(anything=["a", "b"]))
    assert await dao.count({"anything": "a"}) == 0
    assert await dao.count({"anything": {"$in": ["a"]}}) == 0
    assert await dao.count({"anything": {"$gt": "A"}}) == 0
    assert await dao.count({"anything": {"$ne": "a"}}) == 1
    assert await dao.count({"anything": ["a", "b"]}) == 1
