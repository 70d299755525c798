"""What a term means, written in Python: whether a document matches, and how documents sort.

The order of values is that of MongoDB: None, numbers, text, dicts, lists, bytes and UUIDs (shorter
ones first), truth values, times.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from persistence.documents.query import And, Compare, Not, Term, value_at
from persistence.documents.values import Document

_RANGES: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_MISSING: Final = object()


def matches(term: Term, document: Mapping[str, Any]) -> bool:
    """Whether the document matches the term."""
    if isinstance(term, Compare):
        return _compares(term, value_at(document, term.field, _MISSING))
    if isinstance(term, Not):
        return not matches(term.term, document)
    return (all if isinstance(term, And) else any)(matches(inner, document) for inner in term.terms)


def sort_documents(documents: Iterable[Document], sort: tuple[tuple[str, int], ...]) -> list[Document]:
    """The documents in the order of the sort fields."""
    ordered = list(documents)
    for field, direction in reversed(sort):
        ordered.sort(key=lambda document: order_key(value_at(document, field)), reverse=direction < 0)
    return ordered


def order_key(value: Any) -> tuple[Any, ...]:
    """A key by which values of any kinds sort; equal keys mean equal values."""
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (6, value)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    if isinstance(value, dict):
        return (3, tuple((name, order_key(item)) for name, item in value.items()))
    if isinstance(value, list):
        return (4, tuple(order_key(item) for item in value))
    if isinstance(value, bytes):
        return (5, len(value), 0, value)
    if isinstance(value, UUID):
        return (5, 16, 4, value.bytes)
    return (7, value)


def _compares(term: Compare, found: Any) -> bool:
    wanted = term.value
    if term.op == "exists":
        return found is not _MISSING
    found = None if found is _MISSING else found
    if term.op == "eq":
        return order_key(found) == order_key(wanted)
    if term.op == "in":
        return order_key(found) in map(order_key, wanted)
    if term.op == "contains":
        return isinstance(found, list) and order_key(wanted) in map(order_key, found)
    if term.op == "size":
        return isinstance(found, list) and len(found) == wanted
    if term.op == "regex":
        return isinstance(found, str) and wanted.match(found) is not None
    return _kind(found) is _kind(wanted) and _RANGES[term.op](order_key(found), order_key(wanted))


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
