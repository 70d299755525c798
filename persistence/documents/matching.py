"""What a term means, said in Python: whether a document matches, and how documents sort.

The order of values is that of MongoDB: None, numbers, text, dicts, lists, bytes and UUIDs (shorter
ones first), truth values, times.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from persistence.documents.codec import Document
from persistence.documents.query import And, Compare, Contains, In, Not, Term, value_at


def matches(term: Term, document: Document) -> bool:
    """Whether the document matches the term."""
    if isinstance(term, And):
        return all(matches(inner, document) for inner in term.terms)
    if isinstance(term, Not):
        return not matches(term.term, document)
    if isinstance(term, Compare | In | Contains):
        return _compares(term, value_at(document, term.field))
    return any(matches(inner, document) for inner in term.terms)


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


def _compares(term: Compare | In | Contains, found: Any) -> bool:
    if isinstance(term, Contains):
        wanted = order_key(term.value)
        return isinstance(found, list) and any(order_key(item) == wanted for item in found)
    key = order_key(found)
    if isinstance(term, In):
        return any(order_key(item) == key for item in term.values)
    wanted = order_key(term.value)
    if term.op == "eq":
        return key == wanted
    if _kind(found) is not _kind(term.value):
        return False
    if term.op == "gt":
        return key > wanted
    if term.op == "gte":
        return key >= wanted
    return key < wanted if term.op == "lt" else key <= wanted


def _kind(value: Any) -> type | None:
    for kind in (bool, str, bytes, UUID, datetime, dict, list):
        if isinstance(value, kind):
            return kind
    return None if value is None else float
