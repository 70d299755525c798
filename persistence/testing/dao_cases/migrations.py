"""Schema versions: each document is migrated once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio

from persistence.documents import Dao, Id, Index
from persistence.documents.migrations import COLLECTION, DryRun, Migration, SchemaState, dry_run, migrate
from persistence.errors import DeadlineExceeded, InvalidValue, MigrationFailed, SchemaTooNew, UniqueViolation
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Everything, Person
from persistence.testing.raising import raises

cases: Cases[DaoHarness] = Cases()

Plain = dict[str, Any]


def increment(document: Plain) -> Plain:
    return {**document, "count": document["count"] + 1}


def failing_at(id_: Id, change: Callable[[Plain], Plain] = increment) -> Callable[[Plain], Plain]:
    def fail(document: Plain) -> Plain:
        if document["id"] == id_:
            raise ZeroDivisionError("no such luck")
        return change(document)

    return fail


async def counters(h: DaoHarness, ids: Iterable[Id]) -> tuple[str, Dao[Plain]]:
    name = h.name()
    dao: Dao[Plain] = await h.factory.dao(name, dict, id_field="id")
    assert await dao.insert_many({"id": id_, "count": 0} for id_ in ids) == {}
    return name, dao


async def counts(dao: Dao[Plain]) -> list[int]:
    return [document["count"] async for document in dao.find_all(sort=["id"])]


@cases
async def dicts_are_documents_without_a_model(h: DaoHarness) -> None:
    _, dao = await counters(h, ["a", "b"])
    await dao.upsert({"id": "a", "count": 5, "more": {"deep": [1, None, UUID(int=3)]}})
    assert await dao.get_by_id("a") == {"id": "a", "count": 5, "more": {"deep": [1, None, UUID(int=3)]}}
    assert await dao.find_one({"more.deep": [1, None, UUID(int=3)]}) == await dao.get_by_id("a")
    assert await dao.compare_and_set("b", expected={"count": 0}, changes={"other": "x"}) == {
        "id": "b", "count": 0, "other": "x",
    }  # fmt: skip
    with raises(InvalidValue):
        await dao.insert({"count": 1})
    with raises(InvalidValue):
        await dao.insert({"id": 1.5})
    with raises(InvalidValue):
        await dao.insert({"id": "c", "amount": Decimal("1.50")})


@cases
async def documents_are_migrated_once(h: DaoHarness) -> None:
    name, dao = await counters(h, "abcde")
    other_name, other = await counters(h, "ab")
    steps = [Migration(name, increment)]
    assert await migrate(h.factory, steps, name=name) == 5
    assert await migrate(h.factory, steps, name=name) == 0
    assert await counts(dao) == [1] * 5
    steps += [Migration(name, increment), Migration(other_name, increment)]
    assert await migrate(h.factory, steps, name=name) == 7
    assert await counts(dao) == [2] * 5
    assert await counts(other) == [1] * 2


@cases
async def typed_documents_get_their_new_shape(h: DaoHarness) -> None:
    name = h.name()
    old: Dao[Plain] = await h.factory.dao(name, dict, id_field="id")
    await old.insert({"id": "1", "full_name": "Ada Lovelace", "age": "36"})

    def change(document: Plain) -> Plain:
        return {"id": document["id"], "name": document.pop("full_name"), "age": int(document["age"])}

    assert await migrate(h.factory, [Migration(name, change)], name=h.name()) == 1
    assert await (await h.factory.dao(name, Person, id_field="id")).get_by_id("1") == Person("1", "Ada Lovelace")


@cases
async def values_of_every_kind_stay_as_they_are(h: DaoHarness) -> None:
    name = h.name()
    dao = await h.factory.dao(name, Everything, id_field="id")
    stored = await dao.insert(Everything(raw=b"\0", anything={"when": datetime(2024, 1, 1, tzinfo=UTC)}))
    assert await migrate(h.factory, [Migration(name, lambda document: document)], name=h.name()) == 0
    assert await migrate(h.factory, [Migration(name, lambda d: {**d, "text": "new"})], name=h.name()) == 1
    changed = await dao.get_by_id(stored.id)
    assert changed.text == "new"
    assert changed.raw == b"\0"
    assert changed.anything == stored.anything
    assert changed.when == stored.when


@cases
async def a_number_of_another_type_is_a_change(h: DaoHarness) -> None:
    name, dao = await counters(h, "a")
    steps = [Migration(name, lambda document: {**document, "count": float(document["count"])})]
    assert await migrate(h.factory, steps, name=name) == 1
    assert type((await dao.get_by_id("a"))["count"]) is float


@cases.each(texts="abcdefg", numbers=range(-3, 4), uuids=[UUID(int=2**120 * n) for n in range(7)])
async def batches_follow_the_ids(h: DaoHarness, ids: Any) -> None:
    for size in (1, 3, 7, 100):
        name, dao = await counters(h, ids)
        assert await migrate(h.factory, [Migration(name, increment)], batch=size, name=name) == 7
        assert await counts(dao) == [1] * 7


@cases
async def nothing_to_migrate(h: DaoHarness) -> None:
    assert await migrate(h.factory, [], name=h.name()) == 0
    assert await migrate(h.factory, [Migration(h.name(), increment)], name=h.name()) == 0


@cases
async def a_failed_migration_resumes_where_it_was(h: DaoHarness) -> None:
    name, dao = await counters(h, "abcde")
    with raises(MigrationFailed) as raised:
        await migrate(h.factory, [Migration(name, failing_at("d"))], batch=2, name=name)
    assert raised.error.id == "d"
    assert "no such luck" in str(raised.error)
    assert isinstance(raised.error.__cause__, ZeroDivisionError)
    assert await counts(dao) == [1, 1, 0, 0, 0]
    # It holds no lease any more, so nothing waits for one.
    assert await migrate(h.factory, [Migration(name, increment)], batch=2, name=name, deadline=0) == 3
    assert await counts(dao) == [1] * 5


@cases.each(
    nothing=lambda document: None,
    another_id=lambda document: {**document, "id": "z"},
    no_id=lambda document: {"count": 1},
    no_value=lambda document: {**document, "count": object()},
)
async def what_is_no_new_document_is_refused(h: DaoHarness, change: Any) -> None:
    name, dao = await counters(h, "a")
    with raises(MigrationFailed):
        await migrate(h.factory, [Migration(name, change)], name=name)
    assert await counts(dao) == [0]


@cases
async def a_unique_index_is_kept(h: DaoHarness) -> None:
    name = h.name()
    people = await h.factory.dao(name, Person, id_field="id", indexes=[Index("email", unique=True)])
    await people.insert_many(Person(id_, email=id_) for id_ in "ab")
    with raises(UniqueViolation):
        await migrate(h.factory, [Migration(name, lambda d: {**d, "email": "same"})], name=name)
    assert [person.email async for person in people.find_all(sort=["id"])] == ["a", "b"]


@cases
async def an_older_program_refuses_a_newer_database(h: DaoHarness) -> None:
    name, dao = await counters(h, "a")
    steps = [Migration(name, increment)] * 3
    await migrate(h.factory, steps, name=name)
    with raises(SchemaTooNew) as raised:
        await migrate(h.factory, steps[:2], name=name)
    assert (raised.error.stored, raised.error.supported) == (3, 2)
    with raises(SchemaTooNew):
        await dry_run(h.factory, steps[:2], name=name)
    assert await counts(dao) == [3]


@cases
async def a_dry_run_writes_nothing(h: DaoHarness) -> None:
    name, dao = await counters(h, "abcde")
    steps = [Migration(name, failing_at("d")), Migration(name, failing_at("b"))]
    found = await dry_run(h.factory, steps, name=name)
    assert (found.pending, found.changed) == (2, 3)
    assert {key: type(error) for key, error in found.failures.items()} == {
        (name, "b"): MigrationFailed, (name, "d"): MigrationFailed,
    }  # fmt: skip
    assert await counts(dao) == [0] * 5
    states = await h.factory.dao(COLLECTION, SchemaState, id_field="name")
    assert await states.find_one({"name": name}) is None


@cases
async def a_dry_run_sees_what_is_half_done(h: DaoHarness) -> None:
    name, _ = await counters(h, "abcde")
    with raises(MigrationFailed):
        await migrate(h.factory, [Migration(name, failing_at("c"))], batch=2, name=name)
    unchanged = [Migration(name, increment), Migration(name, lambda document: document)]
    assert (await dry_run(h.factory, unchanged, name=name)).changed == 3
    await migrate(h.factory, unchanged, name=name)
    assert await dry_run(h.factory, unchanged, name=name) == DryRun(0, 0, {})


@cases.each(with_time=60.0, without=0.0)
async def several_at_once_migrate_each_document_once(h: DaoHarness, lease: Any) -> None:
    name, dao = await counters(h, range(60))
    steps = [Migration(name, increment)] * 2
    changed: list[int] = []

    async def run() -> None:
        changed.append(await migrate(h.factory, steps, batch=7, lease=lease, name=name))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(run)
    assert await counts(dao) == [2] * 60
    assert sum(changed) == 120


@cases
async def others_wait_until_the_lease_ends_or_expires(h: DaoHarness) -> None:
    name, dao = await counters(h, "a")
    steps = [Migration(name, increment)]
    states = await h.factory.dao(COLLECTION, SchemaState, id_field="name")
    now = await h.factory.now()
    await states.insert(SchemaState(name, owner="another", leased_until=now + timedelta(seconds=60)))
    with raises(DeadlineExceeded):
        await migrate(h.factory, steps, name=name, deadline=0.3)
    assert await counts(dao) == [0]
    await states.upsert(SchemaState(name, owner="another", leased_until=now - timedelta(seconds=1)))
    assert await migrate(h.factory, steps, name=name, deadline=5) == 1


@cases
async def a_cancelled_migration_resumes(h: DaoHarness) -> None:
    name, dao = await counters(h, range(40))
    with anyio.CancelScope() as scope:

        def change(document: Plain) -> Plain:
            if document["id"] == 20:
                scope.cancel()
            return increment(document)

        await migrate(h.factory, [Migration(name, change)], batch=5, name=name)
    assert scope.cancelled_caught
    await migrate(h.factory, [Migration(name, increment)], batch=5, name=name, deadline=0)
    assert await counts(dao) == [1] * 40
