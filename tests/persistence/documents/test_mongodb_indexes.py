"""Indexes that other programs made in MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from persistence.documents import Index
from persistence.documents.mongodb import MongoDaoFactory
from persistence.errors import InvalidQuery, UniqueViolation
from persistence.testing.models import Job, Person

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DATABASE = f"indexes_{uuid4().hex[:8]}"


@pytest.fixture
def people(mongodb: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb) as client:
        yield client[DATABASE]["people"]


@pytest.mark.parametrize(
    ("keys", "options", "index"),
    [
        ([("email", 1)], {"unique": True}, Index("email", unique=True)),
        ([("name", 1), ("age", -1)], {"unique": True}, Index({"name": 1, "age": -1}, unique=True)),
        ([("age", 1)], {}, Index("age")),
        ([("age", -1), ("_id", 1)], {}, Index("-age")),
        ([("age", 1), ("_id", -1)], {}, Index(("age", "-id"))),
        ([("email", 1)], {"partialFilterExpression": {"age": {"$gt": 3}}}, Index("email", where={"age": {"$gt": 3}})),
        ([("age", 1)], {"name": "by_hand"}, Index("age", name="ours")),
    ],
)
async def test_an_index_with_the_same_fields_and_options_is_used(
    keys: Any, options: Any, index: Index, people: Collection[Any], mongodb: str
) -> None:
    name = people.create_index(keys, **options)
    async with MongoDaoFactory(mongodb, DATABASE) as factory:
        dao = await factory.dao("people", Person, id_field="id", indexes=[index])
        assert set(people.index_information()) == {"_id_", name}
        await dao.insert(Person("1"))
        if index.unique:
            with pytest.raises(UniqueViolation) as caught:
                await dao.insert(Person("2"))
            assert caught.value.fields == index.fields


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([("email", 1)], {"unique": True, "sparse": True}),
        ([("email", 1)], {"unique": True, "partialFilterExpression": {"age": 3}}),
        ([("email", 1)], {"unique": True, "expireAfterSeconds": 3}),
        ([("name", 1)], {"name": "email_unique"}),
    ],
)
async def test_one_with_other_options_is_refused(
    keys: Any, options: Any, people: Collection[Any], mongodb: str
) -> None:
    people.create_index(keys, **options)
    async with MongoDaoFactory(mongodb, DATABASE) as factory:
        with pytest.raises(InvalidQuery, match="email"):
            await factory.dao("people", Person, id_field="id", indexes=[Index("email", unique=True)])


@pytest.mark.parametrize(
    ("keys", "options"),
    [([("email", "text")], {}), ([("email", "hashed")], {}), ([("email", 1)], {"collation": {"locale": "de"}})],
)
async def test_one_of_another_kind_stays_beside_ours(
    keys: Any, options: Any, people: Collection[Any], mongodb: str
) -> None:
    name = people.create_index(keys, **options)
    async with MongoDaoFactory(mongodb, DATABASE) as factory:
        for _ in range(2):
            await factory.dao("people", Person, id_field="id", indexes=[Index("email", unique=True)])
        assert set(people.index_information()) == {"_id_", name, "email_unique"}


@attrs.frozen
class Paper:
    """A document with an id in a field that an index is partial by."""

    id: int
    owner: UUID
    title: str | None = None


async def test_an_index_made_twice_is_the_same(people: Collection[Any], mongodb: str) -> None:
    owner = uuid4()
    papers = [Index("title", unique=True, sparse=True, where={"owner": owner})]
    for _ in range(2):
        async with MongoDaoFactory(mongodb, DATABASE) as factory:
            await factory.dao("papers", Paper, id_field="id", indexes=papers)
            await factory.dao("jobs", Job, id_field="id", indexes=[Index("due", expire_after=9)])
    assert people.database["jobs"].index_information()["due_plain"] == {
        "v": 2,
        "key": [("due", 1)],
        "expireAfterSeconds": 9,
    }
    assert set(people.database["papers"].index_information()) == {"_id_", "title_unique"}
