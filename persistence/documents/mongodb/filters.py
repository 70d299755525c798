"""Terms of a query as filters of MongoDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from persistence.documents.matching import matches
from persistence.documents.query import And, Compare, Not, Term

_NOTHING: Final[dict[str, Any]] = {"_id": {"$in": []}}
_LIST: Final[dict[str, Any]] = {"$type": "array"}
_UUIDS: Final[dict[str, Any]] = {"$gte": UUID(int=0), "$lte": UUID(int=2**128 - 1)}


class Filters:
    """Translates terms of one collection.

    MongoDB lets a path lead through lists, and a comparison look into them; ours do not. So where a field or
    one around it may hold a list beside other things, the filter says that it must not be one.

    Args:
        id_field: the field that MongoDB calls `_id`.
        may_be_list: whether a field's type allows a list beside other things.
    """

    def __init__(self, id_field: str, may_be_list: Callable[[str], bool]) -> None:
        self._id_field = id_field
        self._may_be_list = may_be_list

    def key(self, field: str) -> str:
        """A field's name in MongoDB."""
        return "_id" if field == self._id_field else field

    def filter(self, term: Term) -> dict[str, Any]:
        """The filter of a term."""
        if isinstance(term, Compare):
            return self._compared(term)
        if isinstance(term, Not):
            return {"$nor": [self.filter(term.term)]}
        if isinstance(term, And):
            return self._all(term)
        if not term.terms:
            return _NOTHING
        return self.filter(term.terms[0]) if len(term.terms) == 1 else {"$or": [self.filter(t) for t in term.terms]}

    def sort(self, sort: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
        """The sort fields as MongoDB names them."""
        return [(self.key(field), direction) for field, direction in sort]

    def _all(self, term: And) -> dict[str, Any]:
        filters = [found for found in map(self.filter, term.terms) if found]
        merged: dict[str, Any] = {}
        for found in filters:
            if merged.keys() & found.keys():
                return {"$and": filters}
            merged |= found
        return merged

    def _compared(self, term: Compare) -> dict[str, Any]:
        compared = self._condition(term)
        steps = term.field.split(".")
        outer = [".".join(steps[:count]) for count in range(1, len(steps))]
        lists = [{field: _LIST} for field in outer if self._may_be_list(field)]
        if not lists:
            return compared
        return {"$or": [compared, *lists]} if matches(term, {}) else {"$and": [compared, {"$nor": lists}]}

    def _condition(self, term: Compare) -> dict[str, Any]:
        key, value = self.key(term.field), term.value
        if term.op == "contains":
            return {key: {"$elemMatch": {"$eq": value}}}
        if term.op in ("exists", "size"):
            return {key: {f"${term.op}": value}}
        if isinstance(value, list):
            # A list within the list may equal it, which is not asked for.
            return {key: {"$eq": value, "$not": {"$elemMatch": {"$eq": value}}}}
        if term.op == "in" and (inner := [item for item in value if isinstance(item, list)]):
            others = tuple(item for item in value if not isinstance(item, list))
            choices = [Compare(term.field, "in", others), *(Compare(term.field, "eq", item) for item in inner)]
            return {"$or": list(map(self._condition, choices))}
        condition: dict[str, Any]
        if term.op == "regex":
            condition = {"$regex": value.pattern, "$options": "s"}
        else:
            condition = {f"${term.op}": list(value) if term.op == "in" else value}
        if not self._may_be_list(term.field):
            # The short form lets MongoDB take its quickest way for ids.
            return {key: value if term.op == "eq" and not isinstance(value, dict) else condition}
        guarded = {key: {**condition, "$not": _LIST}}
        if term.op not in ("eq", "in") and isinstance(value, bytes):
            return {"$and": [guarded, {"$nor": [{key: _UUIDS}]}]}
        # For MongoDB, UUIDs are bytes of a subtype and compare with others.
        return {key: {**_UUIDS, **guarded[key]}} if isinstance(value, UUID) and term.op not in ("eq", "in") else guarded
