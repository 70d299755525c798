"""Values come back as they went in, and queries find them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from persistence.errors import InvalidValue
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Colour, Everything, Journey, Kind, Level, ShortJourney, Visit
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


@cases
async def a_changed_answer_does_not_change_the_store(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(anything={"list": [1]}, texts=["a"])
    await dao.insert(item)
    found = await dao.get_by_id(item.id)
    found.anything["list"].append(2)
    found.texts.append("b")
    assert await dao.get_by_id(item.id) == item


@cases
async def a_large_document(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = Everything(raw=bytes(500_000), texts=["x" * 1000] * 500)
    await dao.insert(item)
    assert await dao.get_by_id(item.id) == item


@cases
async def ids_and_times_at_every_depth_come_back_from_every_read(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Journey, id_field="id")
    start, place = datetime(1931, 5, 6, 7, 8, 9, 10_000, UTC), UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
    visit = Visit(place, start, datetime(9999, 12, 30, tzinfo=UTC))
    full = Journey(
        "full", place, Kind.TWO, visit, refs=(place, UUID(int=0)), times={"a": start, "_id": start}, raw=place.bytes,
        raws=[b"", place.bytes], numbers=[2**40, -1], maybe=["a"], visits=[visit, Visit(UUID(int=2**128 - 1), start)],
    )  # fmt: skip
    journeys = [Journey("bare", place), full]
    await dao.insert_many(journeys)
    assert [journey async for journey in dao.find_all(sort=["id"])] == journeys
    assert await dao.find_one({"raw": place.bytes}) == full
    assert await dao.get_by_id("full") == full
    found = [journey async for journey in dao.find_all({"first.place": place})]
    assert found == [full]
    assert found[0].first is not None
    assert found[0].first.at.tzinfo is UTC
    assert type(found[0].raw) is bytes
    assert repr(found[0].first.place) == repr(place)
    assert hash(found[0].first.place) == hash(place)


@cases
async def documents_from_before_a_field_was_added_are_read(h: DaoHarness) -> None:
    name = h.name()
    before = await h.factory.dao(name, ShortJourney, id_field="id")
    after = await h.factory.dao(name, Journey, id_field="id")
    await before.insert(ShortJourney("text", str(UUID(int=4))))
    with raises(InvalidValue):
        [journey async for journey in after.find_all()]
    await after.upsert(Journey("text", UUID(int=4)))
    assert [short async for short in before.find_all()] == [ShortJourney("text", str(UUID(int=4)))]
    assert [journey async for journey in after.find_all()] == [Journey("text", UUID(int=4))]
