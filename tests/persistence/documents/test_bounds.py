"""What models, queries and values may not be, on the provider in memory: the rules are the same for all."""

from __future__ import annotations

import types
import uuid
from collections import UserList
from typing import Any

import attrs
import pydantic
import pytest

from persistence.documents import Transaction
from persistence.documents.codec import ModelCodec
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.values import normalize
from persistence.errors import InvalidQuery, InvalidValue
from persistence.testing.models import NewPerson, Person

pytestmark = pytest.mark.anyio


@attrs.frozen
class WithMongosId:
    id: str
    _id: str = attrs.field(default="", alias="mongos")


class Open(pydantic.BaseModel, extra="allow"):
    id: str


class Private(pydantic.BaseModel):
    id: str
    _seen: int = pydantic.PrivateAttr(default=0)


class OurUuid(uuid.UUID):
    pass


async def test_the_name_of_mongodbs_id_is_no_other_field() -> None:
    with pytest.raises(InvalidQuery, match="_id"):
        ModelCodec(WithMongosId, "id")


@pytest.mark.parametrize("name", ["$set", "a.b"])
async def test_names_of_further_fields_are_no_operators_and_paths(name: str) -> None:
    codec = ModelCodec(Open, "id")
    assert codec.dump(Open.model_validate({"id": "1", "more": 5}))["more"] == 5
    with pytest.raises(InvalidValue, match="name"):
        codec.dump(Open.model_validate({"id": "1", name: 5}))


async def test_what_would_be_lost_is_refused() -> None:
    model = Private(id="1")
    assert ModelCodec(Private, "id").dump(model) == {"id": "1"}
    model._seen = 3
    with pytest.raises(InvalidValue, match="private"):
        ModelCodec(Private, "id").dump(model)


async def test_what_is_inserted_is_the_model_that_is_completed() -> None:
    async with MemoryDaoFactory() as factory:
        dao = await factory.surrogate_dao("people", Person, creation_model=NewPerson, id_field="id")
        person: Any = Person("1")
        with pytest.raises(InvalidQuery, match="NewPerson"):
            await dao.insert(person)


async def test_a_transaction_is_tried_once_at_least() -> None:
    async def work(transaction: Transaction) -> None:
        raise AssertionError("it was begun")

    async with MemoryDaoFactory() as factory:
        with pytest.raises(ValueError, match="attempts"):
            await factory.with_transaction(work, attempts=0)


@pytest.mark.parametrize(
    "where",
    [
        {"name": {"$not": 5}},
        {"name": {"$not": {}}},
        {"name": {"$regex": "[!-~]", "$options": "i"}},
    ],
)
async def test_queries_that_mean_nothing(where: dict[str, Any]) -> None:
    async with MemoryDaoFactory() as factory:
        dao = await factory.dao("people", Person, id_field="id")
        with pytest.raises(InvalidQuery):
            await dao.count(where)


@pytest.mark.parametrize("given", ["A_1", "a_1"])
async def test_members_of_a_range_without_case_are_themselves(given: str) -> None:
    async with MemoryDaoFactory() as factory:
        dao = await factory.dao("people", Person, id_field="id")
        await dao.insert(Person("1", name=given))
        assert await dao.count({"name": {"$regex": "^[a-z][_.][0-9]$", "$options": "i"}}) == 1
        assert await dao.count({"name": {"$regex": "^[.][0-9]$", "$options": "i"}}) == 0


async def test_values_of_other_types_become_those_that_are_stored() -> None:
    number = uuid.uuid4().int
    assert type(normalize(OurUuid(int=number))) is uuid.UUID
    assert normalize(types.MappingProxyType({"a": UserList([1, 2])})) == {"a": [1, 2]}
