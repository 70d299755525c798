"""Which fields a model class has, how deep, and of what type: queries are checked against it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final, Union, get_args, get_origin

import attrs

from persistence.errors import InvalidQuery

_NONE: Final = type(None)
_LOOKING: Final[list[type]] = []


def is_pydantic(model: Any) -> bool:
    """Whether the class is a pydantic model, told without importing pydantic."""
    return isinstance(model, type) and any(
        base.__module__ == "pydantic.main" and base.__name__ == "BaseModel" for base in model.__mro__
    )


def is_model(kind: Any) -> bool:
    """Whether the class is one that documents can be made of."""
    if not isinstance(kind, type):
        return False
    return attrs.has(kind) or dataclasses.is_dataclass(kind) or is_pydantic(kind)


@attrs.frozen
class Shape:
    """The fields of one model class with their types."""

    model: type
    fields: Mapping[str, Any]
    pydantic: bool

    @staticmethod
    def of(model: type) -> Shape:
        """The shape of a model class; `InvalidQuery` if it is none, or its types cannot be resolved."""
        if not is_model(model):
            raise InvalidQuery(f"{model!r} is not an attrs class, a dataclass or a pydantic model.")
        try:
            return _shape(model)
        except NameError as error:
            raise InvalidQuery(
                f"The types of {model.__name__} cannot be resolved: {error}.", hint="Define models in a module."
            ) from error

    def hint(self, path: str) -> Any:
        """The type of a field (`a`), nested field (`a.b`) or list element (`a.[]`); Any if it may be several.

        Raises `InvalidQuery` if there is no such field.
        """
        first, *rest = path.split(".")
        if first not in self.fields:
            raise InvalidQuery(
                f"{self.model.__name__} has no field {first!r}.", hint=f"It has {', '.join(self.fields)}."
            )
        hint = self.fields[first]
        for step in rest:
            hint = self._inside(hint, step, path)
        return hint

    def check_query(self, path: str, value: Any) -> None:
        """Raise `InvalidQuery` for an unknown field, or a list compared with something that is no list."""
        kind = _bare(self.hint(path))
        if _is_list(kind) and value is not None and not _is_list(type(value)):
            raise InvalidQuery(f"Field {path!r} is a list.", hint="Use $contains to ask for an element of it.")

    def may_be_list(self, path: str) -> bool:
        """Whether the field may hold a list beside other things, as far as its type says."""
        return _bare(self.hint(path)) is Any

    @property
    def dynamically_typed(self) -> bool:
        """Whether some field, at any depth, is of no one type, so that its values need a second look."""
        return any(_is_dynamically_typed(hint) for hint in self.fields.values())

    def _inside(self, hint: Any, step: str, path: str) -> Any:
        kind = _bare(hint)
        origin = get_origin(kind) or kind
        if kind is Any:
            return Any
        if is_model(kind):
            return Shape.of(kind).hint(step)
        if step == "[]" and _is_list(kind):
            arguments = [item for item in get_args(kind) if item is not Ellipsis]
            return arguments[0] if arguments else Any
        if isinstance(origin, type) and issubclass(origin, Mapping):
            arguments = list(get_args(kind))
            return arguments[1] if len(arguments) == 2 else Any
        hint_text = "Use $contains to ask for an element of a list." if _is_list(kind) else ""
        raise InvalidQuery(f"Field {path!r} of {self.model.__name__} does not exist.", hint=hint_text)


@lru_cache(maxsize=1024)
def _shape(model: Any) -> Shape:
    if is_pydantic(model):
        return Shape(model, {name: field.annotation for name, field in model.model_fields.items()}, True)
    hints = typing.get_type_hints(model)
    names = (
        [field.name for field in attrs.fields(model)]
        if attrs.has(model)
        else [field.name for field in dataclasses.fields(model)]
    )
    return Shape(model, {name: hints.get(name, Any) for name in names}, False)


def _bare(hint: Any) -> Any:
    """The type without Annotated, NewType and None; Any for a union of several."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif get_origin(hint) in (Union, types.UnionType):
            members = [item for item in get_args(hint) if item is not _NONE]
            if len(members) != 1:
                return Any
            hint = members[0]
        else:
            return Any if hint is object or isinstance(hint, typing.TypeVar) else hint


@lru_cache(maxsize=1024)
def _is_dynamically_typed(hint: Any) -> bool:
    kind = _bare(hint)
    if kind is Any or (isinstance(kind, type) and issubclass(kind, list | dict | tuple | set) and not get_args(kind)):
        return True
    if is_model(kind):
        return kind in _LOOKING or _model_is_dynamically_typed(kind)
    return any(_is_dynamically_typed(item) for item in get_args(kind) if not isinstance(item, str | int | Enum | None))


def _model_is_dynamically_typed(kind: Any) -> bool:
    # A model that holds itself is looked into once; being careful with it costs little.
    _LOOKING.append(kind)
    try:
        return Shape.of(kind).dynamically_typed
    finally:
        _LOOKING.pop()


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or issubclass(origin, str | bytes | bytearray | memoryview):
        return False
    return issubclass(origin, Sequence | Set)
