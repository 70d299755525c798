"""Documents that are large, deep or old."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import attrs

from persistence.errors import InvalidValue, TooLarge
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import (
    Everything,
    Journey,
    Kind,
    ShortJourney,
    Visit,
)
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@cases
async def a_document_that_is_too_large_is_refused_or_stored(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    item = await dao.insert(Everything())
    raw = bytes(17 * 1024**2)
    large = attrs.evolve(item, raw=raw)
    for write in (
        lambda: dao.insert(Everything(raw=raw)),
        lambda: dao.update(large),
        lambda: dao.upsert(large),
        lambda: dao.compare_and_set(item.id, expected={}, changes={"raw": raw}),
        lambda: dao.insert_many([Everything(raw=raw)]),
        lambda: dao.upsert_many([Everything(raw=raw)]),
    ):
        before = await dao.count()
        try:
            await write()
        except TooLarge:
            assert await dao.count() == before


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
