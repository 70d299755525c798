"""Models to plain documents and back: attrs classes, dataclasses, and pydantic models.

A document is a dict of plain values: None, bool, int, float, str, bytes, UUID, datetime (UTC,
whole milliseconds), list, dict. Providers store documents and never see models; so every
provider gives back the same. Pydantic is used only for models made with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import attrs
import cattrs
import cattrs.gen
from cattrs.strategies import configure_union_passthrough

from persistence.documents.loading import compiled
from persistence.documents.protocol import Id
from persistence.documents.shape import Shape, is_model, is_pydantic
from persistence.errors import InvalidQuery, InvalidValue

M = TypeVar("M")

Document = dict[str, Any]
"""A model as plain values, by field name."""

_MAX_INT: Final = 2**63 - 1
_MAX_DEPTH: Final = 90
"""Levels of nesting: MongoDB stores 100 and needs some of them itself."""


@attrs.frozen
class NativeTypes:
    """How a database gives UUIDs and times, if not as what they are.

    Args:
        uuid: makes the UUID of such a value (and of its type, always UUID); `TypeError` if it is none.
        time: makes the time of such a value; `TypeError` if it is none.
        plain: makes what it is of any value.
    """

    uuid: Callable[[Any, Any], UUID]
    time: Callable[[Any, Any], datetime]
    plain: Callable[[Any], Any]


class ModelCodec(Generic[M]):
    """Turns instances of one model class into documents and back.

    Raises `InvalidQuery` if the class is no supported model or lacks the id field.
    """

    def __init__(self, model: type[M], id_field: str) -> None:
        self.model = model
        self.id_field = id_field
        self.shape = Shape.of(model)
        if id_field not in self.shape.fields:
            raise InvalidQuery(f"{model.__name__} has no field {id_field!r} to be its id.")
        self.id_type = self.shape.hint(id_field)
        if self.id_type not in (str, UUID, int):
            raise InvalidQuery(f"The id field {id_field!r} of {model.__name__} is not of type str, UUID or int.")
        self._dynamically_typed = self.shape.dynamically_typed
        self._to_dict: Callable[[M], Document]
        self._from_dict: Callable[[Document], M]
        self._to_dict, self._from_dict = _pydantic_pair(model) if is_pydantic(model) else _cattrs_pair(model)

    def dump(self, model: M) -> Document:
        """The document of a model; `InvalidValue` for values that no document can hold."""
        if not isinstance(model, self.model):
            raise InvalidValue(f"{model!r} is not a {self.model.__name__}.")
        document = self._to_dict(model)
        return {name: normalize(value) for name, value in document.items()}

    def load(self, document: Document) -> M:
        """The model of a document; `InvalidValue` if what is stored does not fit the model any more."""
        try:
            # Some databases give subclasses of int; a typed field makes an int of them, others must be cleaned.
            return self._from_dict(
                {name: normalize(v) for name, v in document.items()} if self._dynamically_typed else document
            )
        except Exception as error:
            raise self._mismatch_error(document.get(self.id_field), error) from error

    def loader(self, *, id_key: str, forms: NativeTypes) -> Callable[[Any], M] | None:
        """A quicker way to read documents as a database holds them, in one step; None if the model does not allow it.

        Args:
            id_key: what the database calls the id field.
            forms: how the database gives UUIDs and times.
        """
        if self.shape.pydantic or self._dynamically_typed:
            return None
        converter = _make_converter(forms)
        make: Any = cattrs.gen.make_dict_structure_fn
        from_dict = make(self.model, converter, **{self.id_field: cattrs.override(rename=id_key)})

        def load(document: Any) -> M:
            try:
                model: M = from_dict(document)
                return model
            except Exception as error:
                raise self._mismatch_error(document.get(id_key), error) from error

        return compiled(self.model, self.shape.fields, {self.id_field: id_key}, converter.get_structure_hook, load)

    def check_id(self, id_: Id) -> Id:
        """Give back the id, or raise `InvalidValue` if it is not of the id field's type."""
        if not isinstance(id_, self.id_type) or isinstance(id_, bool):
            raise InvalidValue(f"{id_!r} cannot be an id: {self.id_field!r} is of type {self.id_type.__name__}.")
        checked: Id = normalize(id_)
        return checked

    def id_of(self, model: M) -> Id:
        """The id of a model."""
        return self.check_id(getattr(model, self.id_field))

    def encode(self, path: str, value: Any) -> Any:
        """The plain value to compare a field with; `InvalidQuery` if there is no such field."""
        self.shape.check_query(path, value)
        try:
            return normalize(value)
        except InvalidValue as error:
            raise InvalidQuery(f"The value for field {path!r} cannot be stored.", hint=str(error)) from error

    def encode_change(self, path: str, value: Any) -> Any:
        """The plain new value of a field; `InvalidValue` if the field's type does not allow it."""
        hint = self.shape.hint(path)
        encoded = normalize(value)
        if hint in (Any, object) or type(encoded) is hint:
            return encoded
        try:
            again = normalize(_pydantic_again(hint, encoded) if self.shape.pydantic else _cattrs_again(hint, encoded))
        except Exception as error:
            raise InvalidValue(f"{value!r} is not a value for field {path!r} of {self.model.__name__}.") from error
        if again != encoded or isinstance(again, bool) is not isinstance(encoded, bool):
            raise InvalidValue(f"{value!r} is not a value for field {path!r} of {self.model.__name__}.")
        return encoded

    def _mismatch_error(self, id_: Any, error: Exception) -> InvalidValue:
        return InvalidValue(f"The stored document {id_!r} is not a {self.model.__name__}: {error}.")


def normalize(value: Any, depth: int = 0) -> Any:
    """The value as one that every provider gives back the same; `InvalidValue` if there is none.

    Times are cut to whole milliseconds in UTC, enum members become their values, tuples and sets lists.
    """
    kind = type(value)
    if kind is str:
        return _text(value)
    if value is None or kind is bool or kind is UUID or kind is bytes:
        return value
    if kind is int:
        if not -_MAX_INT - 1 <= value <= _MAX_INT:
            raise InvalidValue(f"{value} does not fit into 64 bits.")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise InvalidValue(f"{value} is not a number that every provider can store.")
        return value
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        _check_depth(depth)
        return [normalize(item, depth + 1) for item in value]
    if kind is dict:
        _check_depth(depth)
        return {_key(name): normalize(item, depth + 1) for name, item in value.items()}
    return _normalize_other(value, depth)


def _normalize_other(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return normalize(value.value, depth)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidValue(f"The time {value.isoformat()} has no time zone.", hint="Use aware times, in UTC.")
        utc = value.astimezone(UTC)
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000, fold=0)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | PurePath):
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if is_pydantic(type(value)):
        return normalize(value.model_dump(mode="python"), depth)
    if is_model(type(value)):
        return normalize(_CONVERTER.unstructure(value), depth)
    bases: tuple[Callable[[Any], Any], ...] = (str, int, float, bytes)
    for base in bases:
        # Subclasses of the plain types: what comes back is the plain type.
        if isinstance(value, base):  # type: ignore[arg-type]
            return normalize(base(value), depth)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    if isinstance(value, Mapping):
        return normalize(dict(value), depth)
    if isinstance(value, list | tuple | Set):
        return normalize(list(value), depth)
    raise InvalidValue(f"A {type(value).__name__} cannot be stored in a document.")


def _text(value: str) -> str:
    try:
        if value.isascii():
            return value
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(f"{value!r} is not valid Unicode text.") from error
    return value


def _key(name: Any) -> str:
    name = name.value if isinstance(name, Enum) else name
    if not isinstance(name, str) or "\0" in name:
        raise InvalidValue(f"{name!r} cannot be a key: keys are text without NUL.")
    return _text(str(name))


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidValue(f"The value is nested deeper than {_MAX_DEPTH} levels.")


def _make_converter(forms: NativeTypes | None = None) -> cattrs.Converter:
    converter = cattrs.Converter(unstruct_collection_overrides={Set: list}, detailed_validation=False)
    for kind in (UUID, datetime, bytes):
        converter.register_unstructure_hook(kind, lambda value: value)
        converter.register_structure_hook(kind, _expect(kind))
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_unstructure_hook(date, lambda value: value)
    converter.register_structure_hook(date, lambda value, _: date.fromisoformat(value))
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_unstructure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, PurePath), str)
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, PurePath), lambda value, kind: kind(value)
    )
    # datetime is a date for isinstance, so the hook of date must not catch it.
    converter.register_structure_hook(datetime, _expect(datetime))
    configure_union_passthrough(str | int | float | bool | None | bytes | UUID | datetime, converter)
    if forms is not None:
        _read_forms(converter, forms)
    return converter


def _read_forms(converter: cattrs.Converter, forms: NativeTypes) -> None:
    converter.register_structure_hook(UUID, forms.uuid)
    converter.register_structure_hook(datetime, forms.time)
    # What other types make of a UUID or a time they must not make of the database's form of it.
    converter.register_structure_hook(bytes, lambda value, _: _exactly(bytes, forms.plain(value)))
    converter.register_structure_hook(str, lambda value, _: value if type(value) is str else str(forms.plain(value)))
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), lambda value, kind: kind(forms.plain(value))
    )


def _expect(kind: type) -> Callable[[Any, Any], Any]:
    return lambda value, _: _exactly(kind, value)


def _exactly(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


_CONVERTER: Final = _make_converter()


def _cattrs_pair(model: type[M]) -> tuple[Callable[[M], Document], Callable[[Document], M]]:
    to_dict = _CONVERTER.get_unstructure_hook(model)
    from_dict = _CONVERTER.get_structure_hook(model)
    return to_dict, lambda document: from_dict(document, model)


def _pydantic_pair(model: Any) -> tuple[Callable[[M], Document], Callable[[Document], M]]:
    def to_dict(instance: Any) -> Document:
        return dict(instance.model_dump(mode="python", by_alias=False, round_trip=True))

    if any(field.alias or field.validation_alias for field in model.model_fields.values()):
        return to_dict, lambda document: model.model_validate(document, by_alias=False, by_name=True)
    return to_dict, model.model_validate


def _cattrs_again(hint: Any, encoded: Any) -> Any:
    return _CONVERTER.unstructure(_CONVERTER.structure(encoded, hint), hint)


def _pydantic_again(hint: Any, encoded: Any) -> Any:
    from pydantic import TypeAdapter

    adapter = TypeAdapter(hint)
    return adapter.dump_python(adapter.validate_python(encoded), mode="python")
