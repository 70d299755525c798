"""What `compare_and_set` does to one document: new values of fields, and numbers added to fields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from persistence.documents.codec import ModelCodec
from persistence.documents.matching import matches
from persistence.documents.query import And, Compare, Term, parse_field, value_at
from persistence.documents.values import Document, same
from persistence.errors import InvalidQuery, InvalidValue

_INT_BOUNDS: Final = (-(2**63), 2**63 - 1)
_FLOAT_BOUNDS: Final = (-sys.float_info.max, sys.float_info.max)


@attrs.frozen
class Changes:
    """Plain values by field path.

    Args:
        values: what fields are set to.
        increments: what is added to fields.
        reload: makes the document of the model that a document is loaded as, `InvalidValue` if it is not loaded;
            None if any document is loaded whose fields have been changed to values of their types.
    """

    values: Mapping[str, Any]
    increments: Mapping[str, int | float]
    reload: Callable[[Mapping[str, Any]], Document] | None = None

    @property
    def guard(self) -> Term:
        """What documents match whose fields are numbers that stay finite, in 64 bits, when they are added to."""
        terms: list[Term] = []
        for field, by in self.increments.items():
            low, high = _INT_BOUNDS if isinstance(by, int) else _FLOAT_BOUNDS
            terms += [Compare(field, "gte", low - min(by, 0)), Compare(field, "lte", high - max(by, 0))]
        return And(tuple(terms))

    def apply(self, document: Mapping[str, Any], expected: Term) -> dict[str, Any] | None:
        """The changed document, or None if it does not match what is expected.

        Raises:
            InvalidValue: a nested field has nothing around it; something that is incremented is no number, or would
                not fit into 64 bits; the changed document would not be loaded, or with other values.
        """
        if not matches(expected, document):
            return None
        if not matches(self.guard, document):
            raise InvalidValue(f"{', '.join(self.increments)} cannot be incremented: not a number, or out of range.")
        changed = self._applied(document)
        if self.reload is not None and not same(self._applied(self.reload(document)), self.reload(changed)):
            raise InvalidValue("The changed document would be loaded with other values.")
        return changed

    def _applied(self, document: Mapping[str, Any]) -> Document:
        changed = dict(document)
        for path, by in self.increments.items():
            _set(changed, path, value_at(document, path) + by)
        for path, value in self.values.items():
            _set(changed, path, value)
        return changed


def parse_changes(codec: ModelCodec[Any], changes: Mapping[str, Any], increments: Mapping[str, Any]) -> Changes:
    """Check what is to be changed in documents of a codec.

    Raises:
        InvalidQuery: it is nothing, the id, an unknown field, or a field that is named twice.
        InvalidValue: a field's type does not allow its new value or the increment.
    """
    if not isinstance(changes, Mapping) or not isinstance(increments, Mapping) or not (changes or increments):
        raise InvalidQuery("The changes and increments are not mappings with at least one field.")
    paths = [*changes, *increments]
    for path in paths:
        if parse_field(path) == codec.id_field:
            raise InvalidQuery(f"The id field {path!r} cannot be changed.")
        if paths.count(path) > 1 or any(path.startswith(f"{other}.") for other in paths):
            raise InvalidQuery(f"The changes name {path!r} twice, or a field around it too.")
    values = {path: codec.encode_change(path, value) for path, value in changes.items()}
    numbers = {path: codec.encode_increment(path, by) for path, by in increments.items()}
    return Changes(values, numbers, None if codec.checks_by_field(values, numbers) else codec.reload)


def _set(document: dict[str, Any], path: str, value: Any) -> None:
    *around, last = path.split(".")
    for step in around:
        inner = document.get(step, {})
        if not isinstance(inner, Mapping):
            raise InvalidValue(f"Field {path!r} cannot be set: there is nothing around it in the document.")
        document[step] = document = dict(inner)
    document[last] = value
