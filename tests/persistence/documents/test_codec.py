from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NewType

import attrs
import pydantic
import pytest

from persistence.documents import DaoFactory
from persistence.documents.codec import ModelCodec
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.documents.values import normalize
from persistence.errors import InvalidQuery, InvalidValue
from persistence.testing.models import Address, Colour

PATH = PurePosixPath("/a/b")
Name = NewType("Name", str)


class Inner(pydantic.BaseModel):
    colour: Colour = Colour.RED
    raw: bytes = b"\xff\0"


class Outer(pydantic.BaseModel):
    id: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)
    when: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    inner: Inner = Inner()
    inners: list[Inner] = []
    maybe: Inner | None = None
    by_name: dict[str, int] = {}
    aliased: int = pydantic.Field(default=1, alias="theAlias")


@attrs.frozen
class Odd:
    id: str
    day: date = date(2024, 2, 29)
    amount: Decimal = Decimal("1.10")
    path: PurePosixPath = PATH
    name: Name = Name("n")
    kind: Literal["a", "b"] = "a"
    count: Annotated[int, "of things"] = 1
    several: set[str] = attrs.field(factory=lambda: {"x"})
    parent: Odd | None = None


@attrs.frozen
class Defaulting:
    id: str
    _private: int = 3


def test_a_type_that_documents_cannot_hold_is_named() -> None:
    """The text of cattrs advises to register a hook, for which there is no place."""
    with pytest.raises(InvalidQuery, match=r"datetime\.time") as caught:
        ModelCodec(attrs.make_class("Shift", {"id": attrs.field(type=str), "begins": attrs.field(type=time)}), "id")
    assert "hook" not in str(caught.value)


def test_pydantic_models_come_back() -> None:
    codec = ModelCodec(Outer, "id")
    model = Outer(inners=[Inner(colour=Colour.GREEN)], maybe=Inner(raw=b""), by_name={"a": 1}, theAlias=5)
    document = codec.dump(model)
    assert document["inner"] == {"colour": "red", "raw": b"\xff\0"}
    assert document["aliased"] == 5
    assert codec.load(document) == model


def test_pydantic_changes_are_checked() -> None:
    codec = ModelCodec(Outer, "id")
    assert codec.encode_change("inner.colour", Colour.GREEN) == "green"
    assert codec.encode_change("maybe", Inner()) == {"colour": "red", "raw": b"\xff\0"}
    with pytest.raises(InvalidValue):
        codec.encode_change("inner.colour", "blue")
    with pytest.raises(InvalidQuery):
        codec.encode("inner.none", 1)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_pydantic_models_are_stored(kind: str, tmp_path: Any) -> None:
    factory: DaoFactory = MemoryDaoFactory() if kind == "memory" else SqliteDaoFactory(tmp_path / "documents.db")
    async with factory:
        dao = await factory.dao("outers", Outer, id_field="id")
        model = await dao.insert(Outer(maybe=Inner(), theAlias=7))
        assert await dao.find_one({"inner.colour": Colour.RED, "aliased": {"$gt": 6}}) == model
        changed = await dao.compare_and_set(model.id, expected={}, changes={"maybe.colour": Colour.GREEN})
        assert changed is not None
        assert changed.maybe == Inner(colour=Colour.GREEN)


def test_less_common_types_come_back() -> None:
    codec = ModelCodec(Odd, "id")
    model = Odd("1", parent=Odd("0"))
    assert codec.load(codec.dump(model)) == model
    assert codec.dump(model)["day"] == "2024-02-29"


def test_private_attributes_come_back() -> None:
    codec = ModelCodec(Defaulting, "id")
    assert codec.load(codec.dump(Defaulting("1", 9))) == Defaulting("1", 9)


def test_models_of_a_function_are_refused_with_a_hint() -> None:
    @attrs.frozen
    class Local:
        id: str
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidQuery, match="module"):
        ModelCodec(Local, "id")


def test_nesting_has_an_end() -> None:
    value: Any = []
    for _ in range(95):
        value = [value]
    with pytest.raises(InvalidValue, match="nested"):
        normalize(value)


def test_plain_values_are_what_they_say() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    assert type(normalize(Text("x"))) is str
    assert type(normalize(Number(5))) is int
    assert normalize(Address("A")) == {"city": "A", "zip": None}
    assert normalize(memoryview(b"ab")) == b"ab"
