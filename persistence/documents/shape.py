"""Which fields a model class has, how deep, and of what type: queries are checked against it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import attrs

from persistence.errors import InvalidQuery

_NONE: Final = type(None)


def is_pydantic(kind: Any) -> bool:
    """Whether the class is a pydantic model or pydantic dataclass, told without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


def is_root_model(kind: Any) -> bool:
    """Whether the class is a pydantic model of a single value, which is stored as that value."""
    return bool(getattr(kind, "__pydantic_root_model__", False))


@lru_cache(maxsize=1024)
def field_names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a class whose instances documents can be made of; None for any other class."""
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(kind.model_fields) if is_pydantic(kind) else None


def is_model(kind: Any) -> bool:
    """Whether the class is one that documents can be made of."""
    return isinstance(kind, type) and field_names(kind) is not None


def has_plain_init(kind: Any) -> bool:
    """Whether a class takes the values of its fields as they are: no validator, converter or code of its own."""
    if attrs.has(kind):
        checked = any(field.validator or field.converter for field in attrs.fields(kind))
        return not (checked or hasattr(kind, "__attrs_post_init__") or hasattr(kind, "__attrs_init__"))
    return not is_pydantic(kind) and not hasattr(kind, "__post_init__")


def field_values(model: Any) -> dict[str, Any]:
    """The values of a model by field name, with the further ones that pydantic models may be allowed to have."""
    kind: Any = type(model)
    values = {name: getattr(model, name) for name in field_names(kind) or ()}
    return values | (getattr(model, "__pydantic_extra__", None) or {})


@attrs.frozen
class Shape:
    """The fields of one model class with their types."""

    model: type
    fields: Mapping[str, Any]

    @staticmethod
    def of(model: type) -> Shape:
        """The shape of a model class; `InvalidQuery` if it is none, or its types cannot be resolved."""
        if not is_model(model) or is_root_model(model):
            raise InvalidQuery(f"{model!r} is not an attrs class, a dataclass or a pydantic model with fields.")
        try:
            return _shape(model)
        except NameError as error:
            hint = "Define models in a module."
            raise InvalidQuery(f"The types of {model.__name__} cannot be resolved: {error}.", hint=hint) from error

    def hint(self, path: str) -> Any:
        """The type of a field (`a`), nested field (`a.b`) or list element (`a.[]`); Any if it may be several.

        Raises `InvalidQuery` if there is no such field.
        """
        first, *rest = path.split(".")
        if first not in self.fields:
            known = ", ".join(self.fields)
            raise InvalidQuery(f"{self.model.__name__} has no field {first!r}.", hint=f"It has {known}.")
        hint = self.fields[first]
        for step in rest:
            hint = self._inside(hint, step, path)
        return hint

    def kind(self, path: str) -> Any:
        """The type of a field without None and annotations; Any if it may be several."""
        return _bare(self.hint(path))

    def check_query(self, path: str, value: Any) -> None:
        """Check that a field can be compared with a value.

        Raises:
            InvalidQuery: there is no such field, it is a list and the value is none, or databases do not compare its
                values as Python does.
        """
        if _is_list(self.kind(path)) and value is not None and not _is_list(type(value)):
            raise InvalidQuery(f"Field {path!r} is a list.", hint="Use $contains to ask for an element of it.")
        if value not in (None, [], {}):
            self.check_comparable(path)

    def check_comparable(self, path: str) -> None:
        """Raise `InvalidQuery` if databases do not compare the values of a field as Python does."""
        kinds = (get_origin(kind) or kind for kind in _kinds_within(self.hint(path), set()))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Decimal | PurePath | Mapping):
                why = f"databases compare the text of a {kind.__name__}, or the order of its keys"
                hint = "Compare a field inside of it, or keep its value in a further field of a type that compares."
                raise InvalidQuery(f"Field {path!r} of {self.model.__name__} cannot be compared: {why}.", hint=hint)

    def may_be_list(self, path: str) -> bool:
        """Whether the field may hold a list beside other things, as far as its type says."""
        return self.kind(path) is Any

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
    if hasattr(model, "model_fields"):
        model.model_rebuild()
        return Shape(model, {name: field.annotation for name, field in model.model_fields.items()})
    hints = typing.get_type_hints(model)
    return Shape(model, {name: hints.get(name, Any) for name in field_names(model) or ()})


def members(hint: Any) -> list[Any]:
    """The types that a value may be of, None excepted, without annotations; of a root model that of its root."""
    if get_origin(hint) in (Union, types.UnionType):
        return [member for inner in get_args(hint) for member in members(inner)]
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if isinstance(hint, typing.NewType):
        return members(hint.__supertype__)
    if is_root_model(hint):
        return members(hint.model_fields["root"].annotation)
    return [] if hint in (None, _NONE) else [hint]


def _bare(hint: Any) -> Any:
    """The type without Annotated, NewType and None; Any for a union of several."""
    kind, *others = members(hint) or [Any]
    return Any if others or kind is object or isinstance(kind, typing.TypeVar) else kind


def _kinds_within(hint: Any, models: set[Any]) -> Iterator[Any]:
    """The type and all types inside of it, those of the fields of models included."""
    kind = _bare(hint)
    yield kind
    if is_model(kind) and kind not in models:
        models.add(kind)
        for inner in Shape.of(kind).fields.values():
            yield from _kinds_within(inner, models)
    if get_origin(kind) is not Literal:
        for inner in get_args(hint if kind is Any else kind):
            yield from _kinds_within(inner, models)


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or issubclass(origin, str | bytes | bytearray | memoryview):
        return False
    return issubclass(origin, Sequence | Set)
