"""Models to plain documents and back: attrs classes, dataclasses, and pydantic models.

A document is a dict of plain values: None, bool, int, float, str, bytes, UUID, datetime (UTC,
whole milliseconds), list, dict. Providers store documents and never see models; so every
provider gives back the same. Pydantic is used only for models made with it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any, Final, Generic, TypeVar, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.errors import StructureHandlerNotFoundError
from cattrs.gen import make_dict_structure_fn
from cattrs.strategies import configure_union_passthrough

from persistence.documents.shape import Shape, field_values, has_plain_init, is_model, is_pydantic
from persistence.documents.values import Document, Id, normalize, same, same_private
from persistence.errors import InvalidQuery, InvalidValue

M = TypeVar("M")

_EXTRA_FIELD: Final = re.compile(r"(?!_id$)[^$.][^.]*", re.DOTALL)
"""Names of top-level fields that MongoDB stores as they are."""


class ModelCodec(Generic[M]):
    """Turns instances of one model class into documents and back.

    Raises `InvalidQuery` if the class is no supported model or lacks the id field.
    """

    def __init__(self, model: type[M], id_field: str) -> None:
        self.model = model
        self.id_field = id_field
        self.shape = Shape.of(model)
        self.id_types: tuple[type, ...] = (self.shape.hint(id_field),)
        if self.id_types[0] not in (str, UUID, int):
            raise InvalidQuery(f"The id field {id_field!r} of {model.__name__} is not of type str, UUID or int.")
        if id_field != "_id" and "_id" in self.shape.fields:
            raise InvalidQuery(f"{model.__name__} has a field '_id', which is the name of the id in MongoDB.")
        try:
            self._from_document: Callable[[Document, type[M]], M] = _CONVERTER.get_structure_hook(model)
        except StructureHandlerNotFoundError as error:  # its text names hooks, which a service has no place to register
            why = f"a field has the type {error.type_}, which documents cannot hold"
            raise InvalidQuery(f"{model.__name__} is no model: {why}.", hint="Use another type.") from error
        except Exception as error:
            raise InvalidQuery(f"{model.__name__} cannot be loaded from documents: {error}") from error

    def dump(self, model: M) -> Document:
        """The document of a model, checked to load again as an equal model.

        Raises:
            InvalidValue: no document can hold one of the values, or the model would be loaded with others. Times
                count as equal to the whole millisecond that is stored of them.
        """
        return self.dump_and_load(model)[0]

    def dump_and_load(self, model: M) -> tuple[Document, M]:
        """The document of a model, as `dump` gives it, and the model that was loaded from it for the check."""
        if type(model) is not self.model:
            raise InvalidValue(f"{model!r} is not a {self.model.__name__}.")
        try:
            values = field_values(model)
            document: Document = normalize(values)
            odd = [name for name in document if name not in self.shape.fields and not _EXTRA_FIELD.fullmatch(name)]
            if odd:
                raise InvalidValue(f"{odd[0]!r} cannot be the name of a field.")
            again = self._from_document(document, self.model)
            _check_same(values, field_values(again))
            if not same_private(model, again):
                raise InvalidValue("A private attribute is not stored.")
        except Exception as error:
            raise InvalidValue(f"This {self.model.__name__} cannot be stored: {error}") from error
        return document, again

    def complete(self, created: Any, id_: Id) -> tuple[Document, M]:
        """The document and the model of a creation model and an id; `InvalidValue` as from `dump`."""
        try:
            model = self._from_document({self.id_field: id_, **normalize(created)}, self.model)
            _check_same(field_values(created), field_values(model))
        except Exception as error:
            raise InvalidValue(f"This {type(created).__name__} cannot be stored: {error}") from error
        return self.dump_and_load(model)

    def load(self, document: Document) -> M:
        """The model of a document; `InvalidValue` if what is stored does not fit the model any more."""
        try:
            return self._from_document(document, self.model)
        except Exception as error:
            id_ = document.get(self.id_field)
            raise InvalidValue(f"The stored document {id_!r} is not a {self.model.__name__}: {error}.") from error

    def check_id(self, id_: Id) -> Id:
        """Give back the id, or raise `InvalidValue` if it is not of the id field's type."""
        if not isinstance(id_, self.id_types) or isinstance(id_, bool):
            kinds = " or ".join(kind.__name__ for kind in self.id_types)
            raise InvalidValue(f"{id_!r} cannot be an id: {self.id_field!r} is of type {kinds}.")
        checked: Id = normalize(id_)
        return checked

    def encode(self, path: str, value: Any) -> Any:
        """The plain value to compare a field with.

        Raises:
            InvalidQuery: there is no such field, databases do not compare its values as Python does, or the value
                is stored in another form than the field's values are.
        """
        self.shape.check_query(path, value)
        try:
            encoded = normalize(value)
            if not same(value, encoded) and not same(value, self._structure(path, encoded)):
                raise InvalidValue(f"A {type(value).__name__} is stored as {encoded!r}.")
        except Exception as error:
            raise InvalidQuery(f"{value!r} cannot be compared with field {path!r}.", hint=str(error)) from error
        return encoded

    def encode_change(self, path: str, value: Any) -> Any:
        """The plain new value of a field; `InvalidValue` if the field's type does not allow it."""
        self.shape.hint(path)
        try:
            encoded = normalize(value)
            again = self._structure(path, encoded)
            if not same(encoded, normalize(again)) or not (same(value, again) or same(value, encoded)):
                raise InvalidValue(f"It would be loaded as {again!r}.")
        except Exception as error:
            text = f"{value!r} is not a value for field {path!r} of {self.model.__name__}."
            raise InvalidValue(text, hint=str(error)) from error
        return encoded

    def encode_increment(self, path: str, by: Any) -> int | float:
        """The number to add to a field; `InvalidValue` if it is none, or none for the field's type."""
        kind, numbers = self.shape.kind(path), (int, float, Any if self.shape.hint(path) is Any else float)
        if type(by) not in (int, float) or (kind is int and type(by) is float) or kind not in numbers:
            raise InvalidValue(f"Field {path!r} of {self.model.__name__} cannot be incremented by {by!r}.")
        number: int | float = normalize(by)
        return float(number) if kind is float else number

    def checks_by_field(self, changed: Iterable[str], incremented: Iterable[str]) -> bool:
        """Whether values that fit the types of these fields make a model, whatever else the document holds."""
        # A nested field that is set may be the only one of its model; one that is incremented exists.
        outer = [path[:end] for path in incremented for end, character in enumerate(path) if character == "."]
        kinds = [self.model, *(self.shape.kind(path) for path in outer)]
        plain = all(kind is not Any and has_plain_init(get_origin(kind) or kind) for kind in kinds)
        return plain and not any("." in path for path in changed)

    def reload(self, document: Mapping[str, Any]) -> Document:
        """The document of the model that a document is loaded as; `InvalidValue`."""
        reloaded: Document = normalize(self.load(dict(document)))
        return reloaded

    def _structure(self, path: str, encoded: Any) -> Any:
        hint = self.shape.hint(path)
        return _validate(encoded, hint) if is_pydantic(self.model) else _CONVERTER.structure(encoded, hint)


def _check_same(values: Document, again: Document) -> None:
    for name, value in values.items():
        # Most values are loaded as the objects that they are.
        if name not in again or not (value is again[name] or same(value, again[name])):
            raise InvalidValue(f"Field {name!r} would be loaded with another value or type.")


def _has_assigned_fields(kind: Any) -> bool:
    """Whether a class that is not frozen has fields that its constructor does not take."""
    kind = get_origin(kind) or kind
    if not is_model(kind) or is_pydantic(kind) or kind.__delattr__ is not object.__delattr__:
        return False
    return not all(field.init for field in (attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)))


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook(date, lambda value, _: date.fromisoformat(value))
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    converter.register_structure_hook(bytearray, lambda value, _: bytearray(_exactly(bytes, value)))
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, PurePath), lambda value, kind: kind(value)
    )
    # A datetime is a date too, so its hook comes after that of date.
    for kind in (UUID, datetime, bytes):
        converter.register_structure_hook(kind, partial(_exactly, kind))
    configure_union_passthrough(str | int | float | bool | None | bytes | UUID | datetime, converter)
    converter.register_structure_hook_factory(
        _has_assigned_fields, lambda kind: make_dict_structure_fn(kind, converter, _cattrs_include_init_false=True)
    )
    converter.register_structure_hook_func(is_pydantic, _validate)
    return converter


def _exactly(kind: type, value: Any, _: Any = None) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _validate(value: Any, hint: Any) -> Any:
    """The value of a type as pydantic reads it: by the names of fields at every depth, and lists as tuples or sets."""
    return _adapter(hint).validate_python(value, strict=False, by_alias=False, by_name=True)


@lru_cache(maxsize=1024)
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


_CONVERTER: Final = _make_converter()
