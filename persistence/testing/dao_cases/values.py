"""Values come back as they went in, and queries find them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from persistence.documents import Dao
from persistence.errors import InvalidValue
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import (
    Address,
    Capital,
    Colour,
    Everything,
    Interval,
    Level,
    Run,
    Uncompared,
)
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()

_VALUES: dict[str, tuple[str, object]] = {
    "true": ("flag", True),
    "false": ("flag", False),
    "zero": ("whole", 0),
    "largest": ("whole", 2**63 - 1),
    "smallest": ("whole", -(2**63)),
    "over_32_bits": ("whole", 2**40),
    "real": ("real", 0.1),
    "whole_real": ("real", 3.0),
    "large_real": ("real", 1.7976931348623157e308),
    "small_real": ("real", -5e-324),
    "text": ("text", "plain"),
    "unicode": ("text", "Grüße, 世界 🎉 \u202e"),
    "controls": ("text", "\t\r\n\x01\x02\x7f"),
    "nul": ("text", "a\0b\1c"),
    "like_json": ("text", '{"a":1}'),
    "like_a_number": ("text", "12"),
    "dollar": ("text", "$t:2024"),
    "only_dollar": ("text", "$"),
    "quotes": ("text", 'it\'s "quoted" \\ back'),
    "bytes": ("raw", bytes(range(256))),
    "no_bytes": ("raw", b""),
    "uuid": ("ref", UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")),
    "time": ("when", datetime(2026, 7, 1, 23, 59, 59, 999_000, UTC)),
    "epoch": ("when", datetime(1970, 1, 1, tzinfo=UTC)),
    "before_the_epoch": ("when", datetime(1905, 3, 4, 5, 6, 7, 8_000, UTC)),
    "early": ("when", datetime(1, 1, 2, tzinfo=UTC)),
    "late": ("when", datetime(9999, 12, 30, tzinfo=UTC)),
    "enum": ("colour", Colour.GREEN),
    "int_enum": ("level", Level.HIGH),
    "nested": ("nested", Address("Rome", 118)),
    "maybe": ("maybe", Address("Oslo")),
    "none": ("maybe", None),
    "union_number": ("either", 5),
    "union_text": ("either", "5"),
}

_UNQUERIED: dict[str, tuple[str, object]] = {
    "list": ("texts", ["b", "a", "b", ""]),
    "models": ("people", [Address("A"), Address("B", 2)]),
    "pair": ("pair", (7, "seven")),
    "dict": ("by_name", {"b": 1, "a": 2}),
    "odd_keys": ("by_name", {"a.b": 1, "$c": 2, "": 3, "ä": 4}),
    "enums": ("colours", [Colour.GREEN, Colour.RED]),
    "anything": ("anything", {"list": [1, "two", None, 3.5, b"raw", UUID(int=5)], "deep": {"er": [[], {}]}}),
}


@cases.each(**_VALUES)
async def a_value_comes_back_and_is_found(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, value = entry
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(**{field: value})
    await dao.insert(item)
    found = await dao.get_by_id(item.id)
    assert found == item
    assert type(getattr(found, field)) is type(value)
    assert await dao.find_one({field: value}) == item
    assert await dao.count({field: {"$ne": value}}) == 0


@cases.each(**_UNQUERIED)
async def a_value_comes_back(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, value = entry
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(**{field: value})
    await dao.insert(item)
    assert await dao.get_by_id(item.id) == item


@cases
async def times_are_cut_to_milliseconds(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = await dao.insert(Everything(when=datetime(2024, 1, 1, 0, 0, 0, 123_999, UTC)))
    assert item.when == datetime(2024, 1, 1, 0, 0, 0, 123_000, UTC)
    assert await dao.get_by_id(item.id) == item


@cases
async def times_come_back_in_utc(h: DaoHarness) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(when=datetime(2024, 1, 1, 2, tzinfo=zone))
    await dao.insert(item)
    found = await dao.get_by_id(item.id)
    assert found == item
    assert found.when.utcoffset() == timedelta(0)


async def refuses_every_write(dao: Dao[Any], stored: Any, refused: Any, other: Any) -> None:
    """Assert that a model, of the id of a stored one, is refused by every write, and nothing else is stored."""
    await dao.insert(stored)
    for write in (dao.insert, dao.update, dao.upsert):
        with raises(InvalidValue):
            await write(refused)
    for write_many in (dao.insert_many, dao.upsert_many, dao.update_many):
        with raises(InvalidValue):
            await write_many([other, refused])
    assert [model async for model in dao.find_all()] == [stored]


@cases.each(
    subclass=("nested", Capital("Oslo")),
    subclass_in_a_list=("people", [Address("Rome"), Capital("Oslo")]),
    model_in_any=("anything", Address("Oslo")),
    tuple_in_any=("anything", [(1, 2)]),
    set_in_any=("anything", {"a": {1}}),
    time_span_in_any=("anything", timedelta(1)),
    decimal_in_any=("anything", Decimal("1.5")),
    enum_in_any=("anything", Colour.RED),
    reference_in_any=("anything", [{"$ref": "a", "$id": 1}]),
    truth_as_number=("whole", True),
    real_as_number=("whole", 1.0),
    truth_as_real=("real", True),
    decimal_as_real=("real", Decimal("1.5")),
    number_as_text=("text", 5),
    text_as_number=("whole", "5"),
    mutable_bytes=("raw", bytearray(b"x")),
    list_as_pair=("pair", [1, "one"]),
    pair_too_long=("pair", (1, "one", 2)),
    value_of_an_enum=("colour", "red"),
    none=("text", None),
    time_before_year_one=("when", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
    time_after_year_9999=("when", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
)
async def a_value_that_would_not_come_back_is_refused(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, value = entry
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything()
    await refuses_every_write(dao, item, attrs.evolve(item, **{field: value}), Everything())
    if field not in ("colour", "pair"):
        with raises(InvalidValue):
            await dao.compare_and_set(item.id, expected={}, changes={field: value})
    assert [found async for found in dao.find_all()] == [item]


@cases
async def fields_that_no_constructor_takes_come_back(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Run, id_field="id")
    run = Run("1", labels={"a", "b"})
    run.attempts = 3
    assert (await dao.insert(run)).attempts == 3
    assert await dao.find_one({"attempts": 3}) == run
    changed = await dao.compare_and_set("1", expected={}, changes={"attempts": 4, "lasts": timedelta(days=-1)})
    assert changed == await dao.get_by_id("1")
    assert (changed.attempts, changed.lasts) == (4, timedelta(days=-1))


@cases
async def models_without_equality_come_back(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Uncompared, id_field="id")
    await dao.insert(Uncompared("1", ["a"]))
    assert (await dao.get_by_id("1")).tags == ["a"]


@cases.each(
    together={"low": 10},
    a_field={"step": 0},
    a_part={"inner.new.zip": 5},
)
async def a_change_that_the_model_refuses_is_refused(h: DaoHarness, changes: object) -> None:
    assert isinstance(changes, dict)
    dao = await h.factory.dao(h.name(), Interval, id_field="id")
    interval = Interval("1", inner={"rome": Address("Rome")})
    await dao.insert(interval)
    with raises(InvalidValue):
        await dao.compare_and_set("1", expected={}, changes=changes)
    assert await dao.compare_and_set("1", expected={"low": 5}, changes=changes) is None
    assert [found async for found in dao.find_all()] == [interval]
    both = await dao.compare_and_set("1", expected={}, changes={"low": 10, "high": 20, "inner.rome.zip": 7})
    assert both == Interval("1", 10, 20, 1, {"rome": Address("Rome", 7)})


@cases
async def an_increment_that_the_model_refuses_is_refused(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Interval, id_field="id")
    await dao.insert(Interval("1"))
    with raises(InvalidValue):
        await dao.compare_and_set("1", expected={}, increments={"low": 10})
    assert await dao.compare_and_set("1", expected={}, increments={"low": 9}) == Interval("1", 9)


@cases.each(
    naive=("when", datetime(2024, 1, 1)),
    too_large=("whole", 2**63),
    too_small=("whole", -(2**63) - 1),
    not_a_number=("real", float("nan")),
    infinite=("real", float("inf")),
    surrogate=("text", "\ud800"),
    odd_key=("anything", {1: "one"}),
    nul_key=("anything", {"a\0": "one"}),
    an_object=("anything", object()),
)
async def a_value_that_cannot_be_stored_is_refused(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, value = entry
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    with raises(InvalidValue):
        await dao.insert(Everything(**{field: value}))
    assert await dao.count() == 0
