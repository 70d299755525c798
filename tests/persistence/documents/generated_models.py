"""Strategies for model classes of every kind, and for instances with values that fit their types or do not."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import reduce
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import attrs
import pydantic
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Mixed(Enum):
    ONE = 1
    HALF = 0.5
    WORD = "word"
    RAW = b"raw"
    NOTHING = None
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"
    NO = "no"


class Text(str):
    __slots__ = ()


class Numbers(pydantic.RootModel[list[int]]):
    pass


Values: TypeAlias = st.SearchStrategy[Any]


@attrs.frozen
class Kind:
    """A type, values that a field of it holds, and by path the values of fields inside of it."""

    hint: Any
    values: Values
    inside: Mapping[str, Values] = attrs.field(factory=dict)


_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
_times = st.datetimes(timezones=_zones).map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
_texts = st.text(max_size=4) | st.sampled_from(["", "$", "$t:1", "a\0b", "\1", "[1]", "1", "true", "\ud800"])
_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.binary(max_size=4) | st.uuids() | _times,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts | st.sampled_from(["$ref", "$id"]), inner),
    max_leaves=4,
)
_LEAVES: Final = [
    Kind(*leaf)
    for leaf in (
        (bool, st.booleans()),
        (int, st.integers(-(2**63), 2**63 - 1) | st.integers()),
        (float, st.floats() | st.sampled_from([0.0, -0.0, 3.0, 0.1 + 0.2, 2.0**53, 1e22])),
        (str, _texts),
        (bytes, st.binary(max_size=4)),
        (bytearray, st.binary(max_size=4).map(bytearray)),
        (UUID, st.uuids()),
        (datetime, _times),
        (date, st.dates()),
        (timedelta, st.timedeltas()),
        (Decimal, st.decimals().filter(lambda number: not number.is_snan())),
        (PurePosixPath, st.sampled_from([PurePosixPath("/a/b"), PurePosixPath("a-b"), PurePosixPath("")])),
        (Colour, st.sampled_from(Colour)),
        (Mixed, st.sampled_from(Mixed)),
        (Level, st.sampled_from(Level)),
        (Word, st.sampled_from(Word)),
        (Literal["a", 1], st.sampled_from(["a", 1])),
        (Any, _plain),
        (Numbers, st.lists(st.integers(0, 9), max_size=2).map(Numbers)),
    )
]
_MISFITS: Final = st.sampled_from(
    [
        None, True, 1, 1.0, -0.0, "1", "red", b"x", bytearray(b"x"), (1, 2), [1, 2], {1, 2}, {"a": 1}, {1: 1},
        Decimal("1.50"), date(2024, 1, 1), timedelta(seconds=1), datetime(2024, 1, 1), datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), Colour.RED, Level.LOW, Word.YES, Text("x"), object(),
        float("nan"), 2**70, PurePosixPath("x"), Numbers([1]), {"$ref": "a", "$id": 1}, {"a": (1,)}, int, len,
    ]
)  # fmt: skip

_names = itertools.count()


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> Kind:
    """A type with values for it, of containers, unions and models down to a depth."""
    shapes = ["leaf", "leaf", "list", "tuple", "pair", "set", "frozenset", "dict", "union", "maybe", "model", "model"]
    shape = draw(st.sampled_from(shapes if depth else ["leaf"]))
    if shape == "leaf":
        return draw(st.sampled_from(_LEAVES))
    if shape in ("set", "frozenset"):
        item = draw(st.sampled_from([leaf for leaf in _LEAVES if leaf.hint not in (bytearray, Any, Numbers)]))
        make: Any = set if shape == "set" else frozenset
        return Kind(make[item.hint], st.lists(item.values, max_size=3).map(make))
    if shape == "union":
        several = draw(st.lists(kinds(depth - 1), min_size=2, max_size=3))
        inside = {path: values for kind in several for path, values in kind.inside.items()}
        hint = reduce(operator.or_, [kind.hint for kind in several])
        return Kind(hint, st.one_of([kind.values for kind in several]), inside)
    kind = draw(kinds(depth - 1)) if shape != "model" else draw(models(depth - 1)).as_kind
    if shape == "maybe":
        return Kind(kind.hint | None, st.none() | kind.values, kind.inside)
    hinted: Any = kind.hint
    if shape == "list":
        return Kind(list[hinted], st.lists(kind.values, max_size=2))
    if shape == "tuple":
        return Kind(tuple[hinted, ...], st.lists(kind.values, max_size=2).map(tuple))
    if shape == "pair":
        return Kind(tuple[hinted, int], st.tuples(kind.values, st.integers(0, 9)))
    if shape == "dict":
        values = st.dictionaries(_texts | st.just("key"), kind.values, max_size=2)
        return Kind(dict[str, hinted], values, {"key": kind.values} | _under("key", kind.inside))
    return kind


def _under(name: str, inside: Mapping[str, Values]) -> dict[str, Values]:
    return {f"{name}.{path}": values for path, values in inside.items()}


@attrs.frozen
class Model:
    """A model class with its fields, and instances of it, some with values of other types."""

    kind: type
    fields: Mapping[str, Kind]
    instances: Values

    @property
    def changes(self) -> dict[str, Values]:
        """By path, values for the fields of the model and of the models inside of it."""
        found = {name: kind.values for name, kind in self.fields.items() if name != "id"}
        for name, kind in self.fields.items():
            found |= _under(name, kind.inside)
        return found

    @property
    def as_kind(self) -> Kind:
        """The model as the type of a field."""
        return Kind(self.kind, self.instances, self.changes)


@st.composite
def models(draw: st.DrawFn, depth: int, *, stored: bool = False) -> Model:
    """A class of any of the three kinds, with fields of any type; with an id if it is to be stored."""
    fields = {f"field_{number}": draw(kinds(depth)) for number in range(draw(st.integers(1, 3)))}
    free = list(fields)
    if stored:
        fields["id"] = Kind(str, st.just("one"))
    if ordered := draw(st.sampled_from([False, False, True])):
        fields |= {"low": Kind(int, st.integers(0, 5)), "high": Kind(int, st.integers(0, 9))}
    make = draw(st.sampled_from([_attrs_class, _attrs_class, _dataclass, _pydantic_model, _pydantic_model]))
    kind, build = make(draw, f"Made{next(_names)}", fields, free, ordered)
    rarely = st.integers(0, 19).map(lambda number: number == 0)

    @st.composite
    def instances(draw: st.DrawFn) -> Any:
        chosen = {name: draw(field.values) for name, field in fields.items()}
        if ordered:
            chosen["high"] = max(chosen["low"], chosen["high"])
        if misfit := draw(rarely):
            chosen[draw(st.sampled_from(free))] = draw(_MISFITS)
        return build(chosen, misfit)

    return Model(kind, fields, instances())


def _check_order(instance: Any) -> Any:
    if instance.low > instance.high:
        raise ValueError("low is not low")
    return instance


def _attrs_class(draw: st.DrawFn, name: str, fields: Mapping[str, Kind], free: list[str], ordered: bool) -> Any:
    late = draw(st.sampled_from([None, None, *free]))
    private = draw(st.booleans())
    frozen = draw(st.booleans())
    body = {
        name: attrs.field(type=kind.hint, init=name != late, kw_only=True, converter=draw(_converters(name, free)))
        for name, kind in fields.items()
    }
    if private:
        body["_hidden"] = attrs.field(type=int, default=1, kw_only=True)
    options: dict[str, Any] = {
        "slots": draw(st.booleans()),
        "eq": "id" not in fields or draw(st.booleans()),
        "frozen": frozen,
    }
    kind = attrs.make_class(name, body, class_body={"__attrs_post_init__": _check_order} if ordered else {}, **options)
    return kind, _builder(kind, late)


def _dataclass(draw: st.DrawFn, name: str, fields: Mapping[str, Kind], free: list[str], ordered: bool) -> Any:
    late = draw(st.sampled_from([None, None, *free]))
    body = [(name, kind.hint, dataclasses.field(init=name != late)) for name, kind in fields.items()]
    options: dict[str, Any] = {"slots": draw(st.booleans()), "frozen": draw(st.booleans()), "kw_only": True}
    kind = dataclasses.make_dataclass(
        name, body, namespace={"__post_init__": _check_order} if ordered else {}, **options
    )
    return kind, _builder(kind, late)


def _builder(kind: type, late: str | None) -> Callable[[dict[str, Any], bool], Any]:
    def build(chosen: dict[str, Any], _: bool) -> Any:
        instance = kind(**{field: value for field, value in chosen.items() if field != late})
        if late is not None:
            object.__setattr__(instance, late, chosen[late])
        return instance

    return build


def _converters(name: str, free: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from([None] * 8 + [_upper, _one_more]) if name in free else st.none()


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _one_more(value: Any) -> Any:
    return value + 1 if type(value) is int else value


def _pydantic_model(draw: st.DrawFn, name: str, fields: Mapping[str, Kind], free: list[str], ordered: bool) -> Any:
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    config["strict"] = draw(st.booleans())
    config["extra"] = draw(st.sampled_from(["ignore", "allow", "forbid"]))
    if draw(st.booleans()):
        config["alias_generator"] = to_camel
    body: dict[str, Any] = {}
    for field, kind in ((name, kind.hint) for name, kind in fields.items()):
        options: dict[str, Any] = {}
        if field in free:
            way = draw(st.sampled_from(["", "alias", "validation_alias", "serialization_alias", "exclude", "strict"]))
            if way and (way != "strict" or kind in (bool, int, float, str, bytes, datetime, date, timedelta, UUID)):
                options = {way: True if way in ("exclude", "strict") else f"{field} Alias"}
        around: Any = draw(_converters(field, free))
        if around is not None:
            applied = draw(st.sampled_from([pydantic.AfterValidator, pydantic.PlainSerializer]))
            kind = Annotated[kind, applied(around)]
        body[field] = (kind, pydantic.Field(**options))
    checks: Any = {"order": pydantic.model_validator(mode="after")(_check_order)} if ordered else {}
    kind = pydantic.create_model(name, __config__=config, __validators__=checks, **body)
    extra = st.none() | st.dictionaries(st.sampled_from(["more", "_id", "$x", "a.b", "fieldAlias"]), st.integers(0, 3))
    further = draw(extra) if config["extra"] == "allow" else None

    def build(chosen: dict[str, Any], misfit: bool) -> Any:
        if not misfit:
            try:
                return kind.model_validate({**(further or {}), **chosen}, by_name=True, by_alias=False, strict=False)
            except pydantic.ValidationError:
                pass
        return kind.model_construct(**chosen)

    return kind, build
