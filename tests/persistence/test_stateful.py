"""Random sequences of operations give the same on every provider."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from persistence.documents import Dao, DaoFactory, Index
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import ObjectExists, PersistenceError
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage
from persistence.objects.s3 import S3Storage
from persistence.testing.models import Address, Person
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import settings_of

SETTINGS = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

ids = st.sampled_from(["a", "b", "c", "d", "B", "$t:1"])
names = st.sampled_from(["", "Ada", "Grace", "$u:x", "é", "a\0b", "[1]"])
ages = st.sampled_from([-1, 0, 1, 2, 2**40])
emails = st.sampled_from([None, "x", "y", "$"])
people = st.builds(
    Person,
    id=ids,
    name=names,
    age=ages,
    email=emails,
    address=st.builds(Address, city=names, zip=st.sampled_from([None, 1, 2])),
    tags=st.lists(names, max_size=2),
)
fields = st.sampled_from(["name", "age", "email", "address.city", "address.zip", "id"])
VALUES = {
    "name": names,
    "age": ages,
    "email": emails,
    "address.city": names,
    "address.zip": st.sampled_from([None, 1, 2]),
    "id": ids,
}
patterns = st.sampled_from(["", "a", "^A", "A$", "^.$", "d.*$", r"^\[", r"\$|É", "\0", "[^a-z]", "^$"])
RANGES = ("$gt", "$gte", "$lt", "$lte")


@st.composite
def conditions(draw: Any) -> dict[str, Any]:
    field = draw(fields)
    operator = draw(
        st.sampled_from(["=", "$eq", "$ne", "$in", "$nin", *RANGES, "$contains", "$size", "$exists", "$regex"])
    )
    if operator == "$contains":
        return {"tags": {"$contains": draw(names)}}
    if operator == "$size":
        return {"tags": {"$size": draw(st.integers(0, 3))}}
    if operator == "$exists":
        return {field: {"$exists": draw(st.booleans())}}
    if operator == "$regex":
        return {field: {"$regex": draw(patterns), "$options": draw(st.sampled_from(["", "i"]))}}
    if operator in ("$in", "$nin"):
        return {field: {operator: draw(st.lists(VALUES[field], max_size=3))}}
    value = draw(VALUES[field].filter(lambda v: operator not in RANGES or v is not None))
    return {field: value} if operator == "=" else {field: {operator: value}}


queries = st.recursive(
    conditions() | st.just({}),
    lambda inner: st.one_of(
        st.builds(lambda terms: {"$and": terms}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda terms: {"$or": terms}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda terms: {"$nor": terms}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda term: {"$not": term}, inner),
    ),
    max_leaves=4,
)
sorts = st.lists(
    st.sampled_from(["name", "-name", "age", "-age", "email", "-email", "address.zip", "-address.city"]),
    max_size=2,
    unique_by=lambda s: s.strip("-"),
)
changes = st.dictionaries(st.sampled_from(["age", "address.zip"]), st.integers(0, 3), min_size=1)
increments = st.dictionaries(
    st.sampled_from(["age", "address.zip"]), st.sampled_from([-1, 1, 2, 2**63 - 2**40, 2**63 - 1]), min_size=1
)


async def outcome(call: Any) -> Any:
    """What a call gives, or the type of its error and what that names."""
    try:
        return await call
    except PersistenceError as error:
        return type(error), getattr(error, "fields", None)


async def outcome_of(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """That of a call that is made in the event loop, too."""
    return await outcome(call(*arguments))


async def listed(iterator: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in iterator]


async def listed_by_id(iterator: AsyncIterator[Any]) -> list[Any]:
    return sorted(await listed(iterator), key=lambda item: item.id)


def plain_errors(result: Any) -> Any:
    return {key: type(error) for key, error in result.items()} if isinstance(result, dict) else result


def dao_machine(portal: anyio.from_thread.BlockingPortal, factories: list[DaoFactory]) -> type[RuleBasedStateMachine]:
    numbers = itertools.count()

    class DaoMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            name = f"machine_{next(numbers)}"
            indexes = [Index(("name", "age"), unique=True), Index("email"), Index("address.zip")]

            async def make(factory: DaoFactory) -> Dao[Person]:
                return await factory.dao(name, Person, id_field="id", indexes=indexes)

            self.daos = [portal.call(make, factory) for factory in factories]

        def same(self, call: Any) -> Any:
            results = []
            for dao in self.daos:
                results.append(portal.call(outcome_of, call, dao))
            first = plain_errors(results[0])
            for result in results[1:]:
                assert plain_errors(result) == first
            return first

        @rule(person=people)
        def insert(self, person: Person) -> None:
            self.same(lambda dao: dao.insert(person))

        @rule(person=people)
        def update(self, person: Person) -> None:
            self.same(lambda dao: dao.update(person))

        @rule(person=people)
        def upsert(self, person: Person) -> None:
            self.same(lambda dao: dao.upsert(person))

        @rule(id_=ids)
        def delete(self, id_: str) -> None:
            self.same(lambda dao: dao.delete(id_))

        @rule(several=st.lists(people, max_size=4))
        def insert_many(self, several: list[Person]) -> None:
            self.same(lambda dao: dao.insert_many(several))

        @rule(several=st.lists(people, max_size=4, unique_by=lambda person: person.id))
        def update_many(self, several: list[Person]) -> None:
            self.same(lambda dao: dao.update_many(several))

        @rule(several=st.lists(people, max_size=4, unique_by=lambda person: person.id))
        def upsert_many(self, several: list[Person]) -> None:
            self.same(lambda dao: dao.upsert_many(several))

        @rule(several=st.lists(ids, max_size=3))
        def delete_many(self, several: list[str]) -> None:
            self.same(lambda dao: dao.delete_many(several))

        @rule(id_=ids, expected=queries, values=changes)
        def compare_and_set(self, id_: str, expected: Any, values: Any) -> None:
            self.same(lambda dao: dao.compare_and_set(id_, expected=expected, changes=values))

        @rule(id_=ids, expected=queries, values=st.just({}) | st.just({"name": "Ada"}), by=increments)
        def increment(self, id_: str, expected: Any, values: Any, by: Any) -> None:
            self.same(lambda dao: dao.compare_and_set(id_, expected=expected, changes=values, increments=by))

        @rule(where=queries)
        def find_one_and_count(self, where: Any) -> None:
            self.same(lambda dao: dao.find_one(where))
            self.same(lambda dao: dao.count(where))

        @rule(where=queries, sort=sorts, skip=st.integers(0, 2), limit=st.none() | st.integers(0, 4))
        def find_all(self, where: Any, sort: Any, skip: int, limit: int | None) -> None:
            self.same(lambda dao: listed(dao.find_all(where, sort=sort or ["id"], skip=skip, limit=limit)))
            self.same(lambda dao: dao.find_all(where, sort=sort or ["id"], skip=skip, limit=limit).total_count())

        @rule(where=queries)
        def find_all_in_any_order(self, where: Any) -> None:
            self.same(lambda dao: listed_by_id(dao.find_all(where)))

        @rule(where=queries, sort=sorts, after=people)
        def find_after(self, where: Any, sort: Any, after: Person) -> None:
            self.same(lambda dao: listed(dao.find_all(where, sort=sort or ["id"], after=after)))

        @rule(one=people, two=people, keep=st.booleans())
        def transaction(self, one: Person, two: Person, keep: bool) -> None:
            class Stop(Exception):
                pass

            async def run(factory: DaoFactory, dao: Dao[Person]) -> Any:
                seen: Any = None
                with contextlib.suppress(Stop):
                    async with factory.transaction() as transaction:
                        bound = transaction.bind(dao)
                        await bound.upsert(one)
                        await bound.upsert(two)
                        seen = await listed_by_id(bound.find_all())
                        if not keep:
                            raise Stop
                return seen

            results = [portal.call(outcome_of, run, f, d) for f, d in zip(factories, self.daos, strict=True)]
            assert all(result == results[0] for result in results)

        @invariant()
        def equal_content(self) -> None:
            self.same(lambda dao: listed_by_id(dao.find_all()))

    return DaoMachine


def storage_machine(
    portal: anyio.from_thread.BlockingPortal, storages: list[ObjectStorage]
) -> type[RuleBasedStateMachine]:
    numbers = itertools.count()
    names = st.sampled_from(["a", "b", "A", "con"])
    contents = st.sampled_from([b"", b"x", b"0123456789", b"y" * 70_000])

    class StorageMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.bucket = f"machine-{next(numbers)}-{id(portal) % 10_000}"
            self.uploads: dict[str, list[str]] = {}
            for storage in storages:
                portal.call(storage.create_bucket, self.bucket)

        def teardown(self) -> None:
            for storage in storages:
                portal.call(partial(storage.delete_bucket, self.bucket, with_content=True))

        def same(self, call: Any) -> Any:
            results = [portal.call(outcome_of, call, s, n) for n, s in enumerate(storages)]
            first = self.comparable(results[0])
            for result in results[1:]:
                assert self.comparable(result) == first
            return results

        def comparable(self, result: Any) -> Any:
            if isinstance(result, list):
                return [self.comparable(item) for item in result]
            if attrs.has(type(result)):
                fields = attrs.asdict(result)
                return {key: fields[key] for key in fields if key not in ("modified", "started", "upload_id")}
            return result

        @rule(name=names, content=contents, overwrite=st.booleans())
        def put(self, name: str, content: bytes, overwrite: bool) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                if overwrite or not isinstance(s, S3Storage):
                    return await s.put_object(self.bucket, name, content, overwrite=overwrite)
                # The server of this test may not support conditional writes; the suite has their cases.
                if await s.object_exists(self.bucket, name):
                    raise ObjectExists(self.bucket, name)
                return await s.put_object(self.bucket, name, content)

            self.same(run)

        @rule(name=names)
        def stat(self, name: str) -> None:
            self.same(lambda s, _: s.stat(self.bucket, name))

        @rule(name=names, start=st.integers(0, 12), size=st.integers(0, 12))
        def read(self, name: str, start: int, size: int) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                buffer = bytearray(size)
                count = await s.read_into(self.bucket, name, start, memoryview(buffer))
                return count, bytes(buffer[:count])

            self.same(run)

        @rule(name=names, start=st.integers(0, 12), stop=st.none() | st.integers(0, 12))
        def stream(self, name: str, start: int, stop: int | None) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                async with s.open_range(self.bucket, name, start, stop) as pieces:
                    return b"".join([piece async for piece in pieces])

            self.same(run)

        @rule(name=names, copy_id=names, span=st.none() | st.tuples(st.integers(0, 12), st.integers(0, 12)))
        def copy(self, name: str, copy_id: str, span: tuple[int, int] | None) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                stat = await s.copy_object(
                    self.bucket, name, to_bucket=self.bucket, to_object_id=copy_id, byte_range=span
                )
                return stat.size

            self.same(run)

        @rule(name=names)
        def delete(self, name: str) -> None:
            self.same(lambda s, _: s.delete_object(self.bucket, name))

        @rule(several=st.lists(names, max_size=3))
        def delete_many(self, several: list[str]) -> None:
            self.same(lambda s, _: s.delete_objects(self.bucket, several))

        @rule(name=names)
        def start_upload(self, name: str) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                return await s.start_upload(self.bucket, name)

            self.uploads[name] = [portal.call(run, s, n) for n, s in enumerate(storages)]

        @rule(name=names, number=st.integers(1, 2), content=contents)
        def put_part(self, name: str, number: int, content: bytes) -> None:
            if name in self.uploads:
                ids = self.uploads[name]
                self.same(lambda s, n: s.put_part(self.bucket, name, ids[n], number, content))
                self.same(lambda s, n: s.list_parts(self.bucket, name, ids[n]))

        @rule(name=names, expected=st.none() | st.integers(1, 2))
        def complete(self, name: str, expected: int | None) -> None:
            if name in self.uploads:
                ids = self.uploads[name]
                self.same(lambda s, n: s.complete_upload(self.bucket, name, ids[n], expected_parts=expected))

        @rule(name=names)
        def abort(self, name: str) -> None:
            if name in self.uploads:
                ids = self.uploads[name]
                self.same(lambda s, n: s.abort_upload(self.bucket, name, ids[n]))

        @invariant()
        def equal_content(self) -> None:
            async def run(s: ObjectStorage, _: int) -> Any:
                return [(stat.object_id, stat.size) async for stat in s.list_objects(self.bucket)]

            self.same(run)
            self.same(lambda s, _: s.list_uploads(self.bucket))

    return StorageMachine


@contextlib.contextmanager
def opened(backend: str, *things: Any) -> Iterator[tuple[anyio.from_thread.BlockingPortal, list[Any]]]:
    with anyio.from_thread.start_blocking_portal(backend) as portal, contextlib.ExitStack() as stack:
        yield portal, [stack.enter_context(portal.wrap_async_context_manager(thing)) for thing in things]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_memory_sqlite_and_mongodb_agree(backend: str, tmp_path: Path, mongodb: str) -> None:
    factories = (
        MemoryDaoFactory(),
        SqliteDaoFactory(tmp_path / "documents.db"),
        MongoDaoFactory(mongodb, f"machine_{backend}"),
    )
    with opened(backend, *factories) as (portal, made):
        run_state_machine_as_test(dao_machine(portal, made), settings=SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_memory_filesystem_and_s3_agree(backend: str, tmp_path: Path, s3: S3Endpoint) -> None:
    signer = UrlSigner("http://storage.test", b"0" * 16, lambda: 0.0)
    storages = MemoryStorage(), FilesystemStorage(tmp_path, signing=signer), S3Storage(settings_of(s3))
    small = settings(SETTINGS, max_examples=8)
    with opened(backend, *storages) as (portal, made):
        run_state_machine_as_test(storage_machine(portal, made), settings=small)
