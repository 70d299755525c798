"""Plain values, of which documents consist: None, bool, int, float, str, bytes, UUID, datetime, list and dict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

from persistence.documents.shape import field_values, is_model, is_root_model
from persistence.errors import InvalidValue

Document: TypeAlias = dict[str, Any]
"""A model as plain values, by field name."""
Id: TypeAlias = str | UUID | int
"""What may identify a document; one collection uses one of these types."""

_MAX_INT: Final = 2**63 - 1
_MAX_DEPTH: Final = 90
"""Levels of nesting: MongoDB stores 100 and needs some of them itself."""


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
    if kind is datetime and value.tzinfo is UTC and not value.microsecond % 1000 and not value.fold:
        return value
    if kind is list or kind is tuple:
        _check_depth(depth)
        return [normalize(item, depth + 1) for item in value]
    if kind is dict:
        _check_depth(depth)
        if "$ref" in value and "$id" in value:
            raise InvalidValue("A dict with the keys '$ref' and '$id' is a reference to MongoDB, not a dict.")
        return {_key(name): normalize(item, depth + 1) for name, item in value.items()}
    return _normalize_other(value, depth)


def _normalize_other(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return normalize(value.value, depth)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidValue(f"The time {value.isoformat()} has no time zone.", hint="Use aware times, in UTC.")
        try:
            utc = value.astimezone(UTC)
        except OverflowError as error:
            raise InvalidValue(f"The time {value.isoformat()} lies outside of the years 1 to 9999 in UTC.") from error
        return datetime.combine(utc.date(), utc.time().replace(microsecond=utc.microsecond // 1000 * 1000, fold=0), UTC)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | PurePath):
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if is_model(type(value)):
        # By the fields themselves: pydantic's own dump leaves out what is excluded and applies serializers.
        state = field_values(value)
        return normalize(state["root"] if is_root_model(type(value)) else state, depth)
    bases: tuple[Callable[[Any], Any], ...] = (str, int, float, bytes)
    for base in bases:
        # Subclasses of the plain types: what comes back is the plain type.
        if isinstance(value, base):  # type: ignore[arg-type]
            return normalize(base(value), depth)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    if isinstance(value, Mapping):
        return normalize(dict(value), depth)
    if isinstance(value, Set):
        # In one order, so that equal sets are equal lists.
        return sorted(normalize(list(value), depth), key=repr)
    if isinstance(value, Sequence):
        return normalize(list(value), depth)
    raise InvalidValue(f"A {type(value).__name__} cannot be stored in a document.")


def same(value: Any, again: Any) -> bool:
    """Whether a loaded value equals the one that was stored, in type too, so that databases find it by it.

    The loaded one may be of a base class where that is no model, or a float for an int. Times are compared as they
    are stored.
    """
    if value is again:
        return True
    kind = type(value)
    if not isinstance(value, type(again)) or kind is bool:
        return kind is int and type(again) is float and value == again
    if is_model(kind):
        return kind is type(again) and same(field_values(value), field_values(again)) and same_private(value, again)
    if isinstance(value, datetime):
        return bool(normalize(value) == normalize(again))
    if isinstance(value, Mapping):
        return value.keys() == again.keys() and all(same(item, again[name]) for name, item in value.items())
    if isinstance(value, Set):
        value, again = (sorted(items, key=lambda item: repr(normalize(item))) for items in (value, again))
    if isinstance(value, list | tuple):
        return len(value) == len(again) and all(map(same, value, again))
    return bool(value == again)


def same_private(value: Any, again: Any) -> bool:
    """Whether the private attributes of pydantic models are the same."""
    return same(getattr(value, "__pydantic_private__", None), getattr(again, "__pydantic_private__", None))


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
