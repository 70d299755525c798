"""Increments of `compare_and_set`: counters, bounds and leases."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
import attrs

from persistence.documents import Dao
from persistence.errors import DocumentNotFound, InvalidQuery, InvalidValue
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Address, Job, Level
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()


@attrs.frozen
class Counters:
    """Numbers that are added to."""

    id: str
    count: int = 0
    used: float = 0.0
    size: int | None = None
    free: Any = None
    inner: Address = attrs.field(factory=lambda: Address("London", 1))
    by_name: dict[str, int] = attrs.field(factory=dict)
    text: str = "1"
    level: Level = Level.LOW
    several: list[int] = attrs.field(factory=list)


@attrs.frozen
class Bounded:
    """A number that the model itself keeps small."""

    id: str
    count: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(5)])
    text: str = ""


@attrs.frozen
class Bounding:
    """A model around such a number."""

    id: str
    inner: Bounded = attrs.field(factory=lambda: Bounded("inner"))
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Checked:
    """A dataclass that does the same."""

    id: str
    count: int = 0
    text: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.count <= 5:
            raise ValueError("The count is out of bounds.")


async def counters(h: DaoHarness, **values: Any) -> Dao[Counters]:
    dao = await h.factory.dao(h.name(), Counters, id_field="id")
    await dao.insert(Counters("1", **values))
    return dao


@cases.each(
    whole=("count", 5, 3, 8),
    negative=("count", 5, -7, -2),
    real=("used", 0.5, 0.25, 0.75),
    whole_to_real=("used", 0.5, 2, 2.5),
    maybe=("size", 7, 1, 8),
    untyped=("free", 1, 0.5, 1.5),
    key=("by_name", {"a": 1, "b": 5}, ("a", 2), {"a": 3, "b": 5}),
    nested=("inner", Address("Rome", 1), ("zip", 4), Address("Rome", 5)),
    largest=("count", 2**63 - 2, 1, 2**63 - 1),
    smallest=("count", 1 - 2**63, -1, -(2**63)),
    over_32_bits=("count", 2**31 - 1, 1, 2**31),
    zero=("count", 5, 0, 5),
    large_real=("used", 8e307, 8e307, 1.6e308),
    beyond=("count", -1, -(2**63) + 1, -(2**63)),
    all=("count", -(2**63), 2**63 - 1, -1),
)
async def a_number_is_added(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    field, before, by, after = entry
    dao = await counters(h, **{field: before})
    path, by = (f"{field}.{by[0]}", by[1]) if isinstance(by, tuple) else (field, by)
    changed = await dao.compare_and_set("1", expected={}, increments={path: by})
    assert getattr(changed, field) == after
    assert type(getattr(changed, field)) is type(after)
    assert await dao.get_by_id("1") == changed


@cases.each(
    none=("size", None, 1),
    missing=("by_name.a", {}, 1),
    text_in_any=("free", "5", 1),
    true_in_any=("free", True, 1),
    list_in_any=("free", [1], 1),
    above=("count", 2**63 - 1, 1),
    below=("count", -(2**63), -1),
    far=("count", 1, 2**63 - 1),
    infinite=("used", 1.7e308, 1e308),
    infinite_below=("used", -1.7e308, -1e308),
    nested_none=("inner.zip", None, 1),
)
async def what_cannot_be_added_to_is_refused(h: DaoHarness, entry: object) -> None:
    assert isinstance(entry, tuple)
    path, before, by = entry
    field = path.partition(".")[0]
    dao = await counters(h, **{field: Address("A", None) if path == "inner.zip" else before})
    stored = await dao.get_by_id("1")
    with raises(InvalidValue):
        await dao.compare_and_set("1", expected={}, changes={"text": "new"}, increments={path: by})
    assert await dao.get_by_id("1") == stored
    assert await dao.compare_and_set("1", expected={"text": "other"}, increments={path: by}) is None


@cases.each(
    text_field={"text": 1},
    enum={"level": 1},
    model={"inner": 1},
    list={"several": 1},
    real_to_whole={"count": 1.0},
    text={"count": "1"},
    none={"count": None},
    true={"count": True},
    nan={"used": float("nan")},
    infinite={"used": float("inf")},
    large={"count": 2**63},
    huge={"used": 10**400},
    decimal={"used": Decimal(1)},
)
async def increments_of_another_type_are_refused(h: DaoHarness, increments: object) -> None:
    assert isinstance(increments, dict)
    dao = await counters(h)
    with raises(InvalidValue):
        await dao.compare_and_set("1", expected={}, increments=increments)
    assert await dao.get_by_id("1") == Counters("1")


@cases.each(
    nothing={},
    the_id={"increments": {"id": 1}},
    unknown={"increments": {"none": 1}},
    into_list={"increments": {"several.0": 1}},
    twice={"changes": {"count": 1}, "increments": {"count": 1}},
    operator={"increments": {"$inc": 1}},
    inside={"changes": {"inner": Address("A")}, "increments": {"inner.zip": 1}},
    no_mapping={"increments": [("count", 1)]},
    around={"changes": {"inner.zip": 1}, "increments": {"inner": 1}},
)
async def bad_increments_are_refused(h: DaoHarness, options: object) -> None:
    assert isinstance(options, dict)
    dao = await counters(h)
    with raises(InvalidQuery):
        await dao.compare_and_set("1", expected={}, **options)
    assert await dao.get_by_id("1") == Counters("1")


@cases
async def several_numbers_are_added_and_fields_set_at_once(h: DaoHarness) -> None:
    dao = await counters(h, count=1, used=0.5)
    changed = await dao.compare_and_set(
        "1", expected={"count": 1}, changes={"text": "new"}, increments={"count": 2, "used": 1, "inner.zip": -1}
    )
    assert changed == Counters("1", 3, 1.5, text="new", inner=Address("London", 0))


@cases
async def an_increment_of_a_missing_document_is_refused(h: DaoHarness) -> None:
    dao = await counters(h)
    with raises(DocumentNotFound):
        await dao.compare_and_set("2", expected={}, increments={"count": 1})


@cases.each(validator=Bounded, nested=Bounding, post_init=Checked)
async def a_change_that_the_model_refuses_is_not_stored(h: DaoHarness, model: object) -> None:
    assert isinstance(model, type)
    dao: Dao[Any] = await h.factory.dao(h.name(), model, id_field="id")
    await dao.insert(model("1"))
    path = "inner.count" if model is Bounding else "count"
    changed = await dao.compare_and_set("1", expected={}, increments={path: 5}, changes={"text": "new"})
    assert changed is not None
    for options in ({"increments": {path: 1}}, {"increments": {path: -6}}, {"changes": {path: 6}}):
        with raises(InvalidValue):
            await dao.compare_and_set("1", expected={}, **options)
        assert await dao.compare_and_set("1", expected={path: 4}, **options) is None
    assert await dao.get_by_id("1") == changed
    with raises(DocumentNotFound):
        await dao.compare_and_set("2", expected={}, increments={path: 1})


@cases
async def no_increment_is_lost_where_the_model_has_a_bound(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Bounded, id_field="id")
    await dao.insert(Bounded("1"))
    refused = 0

    async def count_up() -> None:
        nonlocal refused
        try:
            assert await dao.compare_and_set("1", expected={}, increments={"count": 1})
        except InvalidValue:
            refused += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(count_up)
    assert ((await dao.get_by_id("1")).count, refused) == (5, 7)


@cases
async def no_increment_is_lost(h: DaoHarness) -> None:
    dao = await counters(h, inner=Address("London", 0))

    async def count_up() -> None:
        for _ in range(50):
            assert await dao.compare_and_set("1", expected={}, increments={"count": 1, "used": 0.5, "inner.zip": -1})

    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(count_up)
    assert await dao.get_by_id("1") == Counters("1", 1600, 800.0, inner=Address("London", -1600))


@cases
async def a_bound_that_is_expected_holds(h: DaoHarness) -> None:
    dao = await counters(h)
    size, capacity, accepted = 3, 20, []

    async def reserve() -> None:
        expected = {"count": {"$lte": capacity - size}}
        if await dao.compare_and_set("1", expected=expected, increments={"count": size}):
            accepted.append(size)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(reserve)
    assert (await dao.get_by_id("1")).count == sum(accepted) == 18


@cases
async def a_lease_is_taken_once_until_it_expires(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id")
    await dao.insert(Job(1, due=datetime(2000, 1, 1, tzinfo=UTC)))
    winners: list[str] = []

    async def take(owner: str) -> None:
        now = await h.factory.now()
        changes = {"due": now + timedelta(minutes=5), "owner": owner}
        if await dao.compare_and_set(1, expected={"due": {"$lt": now}}, changes=changes, increments={"version": 1}):
            winners.append(owner)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(take, f"worker-{number}")
    job = await dao.get_by_id(1)
    assert ([job.owner], job.version) == (winners, 1)


@cases
async def increments_work_in_a_transaction(h: DaoHarness) -> None:
    dao = await counters(h, count=1)
    async with h.factory.transaction() as transaction:
        bound = transaction.bind(dao)
        await bound.compare_and_set("1", expected={}, increments={"count": 1})
        changed = await bound.compare_and_set("1", expected={"count": 2}, increments={"count": 1})
    assert changed == await dao.get_by_id("1") == Counters("1", 3)
