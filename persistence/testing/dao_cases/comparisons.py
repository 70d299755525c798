"""Values that queries compare as Python does, or refuse to compare."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath

from persistence.documents import Index
from persistence.errors import InvalidQuery
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import (
    Everything,
    Job,
    Run,
)
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@cases
async def time_spans_and_days_compare_as_in_python(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Run, id_field="id")
    spans = [timedelta(days=-1), timedelta(0), timedelta(microseconds=1), timedelta(seconds=9), timedelta(days=40_000)]
    runs = [Run(str(n), span, date(1 + 999 * n, 1, 1)) for n, span in enumerate(spans)]
    await dao.upsert_many(reversed(runs))
    for run in runs:
        for field, value in (("lasts", run.lasts), ("day", run.day)):
            expected = [other.id for other in runs if getattr(other, field) > value]
            assert [found.id async for found in dao.find_all({field: {"$gt": value}}, sort=["id"])] == expected
            assert [found.id async for found in dao.find_all({field: value})] == [run.id]


@cases
async def equal_sets_are_found(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Run, id_field="id")
    words = [f"word {number}" for number in range(9)]
    await dao.insert(Run("1", labels=set(words)))
    assert await dao.count({"labels": {*words[::-1]}}) == 1


@cases.each(
    decimal={"cost": Decimal("1.1")},
    range_of_decimals={"cost": {"$gt": Decimal(1)}},
    decimal_in_a_list={"shares": {"$contains": Decimal(1)}},
    path={"folder": {"$lt": PurePosixPath("/x")}},
    day_as_time={"day": {"$lt": datetime(2024, 1, 1)}},
    time_span_as_number={"attempts": {"$lt": timedelta(1)}},
    text_as_decimal={"id": {"$gt": Decimal(1)}},
)
async def a_comparison_that_would_be_of_texts_is_refused(h: DaoHarness, where: object) -> None:
    assert isinstance(where, dict)
    dao = await h.factory.dao(h.name(), Run, id_field="id")
    run = Run("1", shares=[Decimal("1.10")])
    await dao.insert(run)
    assert await dao.get_by_id("1") == run
    with raises(InvalidQuery):
        await dao.count(where)


@cases
async def an_order_that_would_be_of_texts_is_refused(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Run, id_field="id")
    for field in ("cost", "shares", "folder"):
        with raises(InvalidQuery):
            await h.factory.dao(h.name(), Run, id_field="id", indexes=[Index(field)])
    for field in ("cost", "shares"):
        with raises(InvalidQuery):
            [run async for run in dao.find_all(sort=[field])]


@cases
async def a_time_is_not_compared_with_a_day(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    with raises(InvalidQuery):
        await dao.count({"when": {"$gt": date(2024, 1, 1)}})


@cases
async def a_dict_is_not_compared_as_a_whole(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Everything, id_field="id")
    with raises(InvalidQuery):
        await dao.count({"by_name": {"b": 1, "a": 2}})
    assert await dao.count({"by_name": None}) == 0


@cases.each(true=True, real=1.5, text="1", items=[1])
async def an_id_of_another_type_finds_nothing(h: DaoHarness, id_: object) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert(Job(1))
    assert await dao.find_one({"id": id_}) is None
    assert await dao.count({"id": id_}) == 0
