"""Terms of a query as filters of MongoDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from persistence.documents.query import And, Compare, Contains, In, Not, Or, Term

_NOTHING: Final[dict[str, Any]] = {"_id": {"$in": []}}
_NO_LIST: Final[dict[str, Any]] = {"$type": "array"}


class Filters:
    """Translates terms of one collection.

    MongoDB lets a comparison look into lists; ours do not. So where a field may hold a list but is
    compared with something else, the filter says that it must not be one.

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
            if term.op == "eq":
                # The short form lets MongoDB take its quickest way for ids.
                simple = not isinstance(term.value, dict | list)
                return self._guarded(term.field, term.value if simple else {"$eq": term.value}, term.value)
            return self._guarded(term.field, {f"${term.op}": term.value}, term.value)
        if isinstance(term, In):
            return self._guarded(term.field, {"$in": list(term.values)}, None)
        if isinstance(term, Contains):
            return {self.key(term.field): {"$elemMatch": {"$eq": term.value}}}
        if isinstance(term, Not):
            return {"$nor": [self.filter(term.term)]}
        if isinstance(term, And):
            return self._every(term)
        return self._some(term)

    def sort(self, sort: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
        """The sort fields as MongoDB names them."""
        return [(self.key(field), direction) for field, direction in sort]

    def _every(self, term: And) -> dict[str, Any]:
        filters = [found for found in map(self.filter, term.terms) if found]
        merged: dict[str, Any] = {}
        for found in filters:
            if merged.keys() & found.keys():
                return {"$and": filters}
            merged |= found
        return merged

    def _some(self, term: Or) -> dict[str, Any]:
        if not term.terms:
            return _NOTHING
        return self.filter(term.terms[0]) if len(term.terms) == 1 else {"$or": [self.filter(t) for t in term.terms]}

    def _guarded(self, field: str, condition: Any, value: Any) -> dict[str, Any]:
        key = self.key(field)
        if isinstance(value, list) or not self._may_be_list(field):
            return {key: condition}
        if isinstance(condition, dict) and "$in" in condition:
            lists = [item for item in condition["$in"] if isinstance(item, list)]
            others = [item for item in condition["$in"] if not isinstance(item, list)]
            apart = {key: {"$in": others, "$not": _NO_LIST}}
            return {"$or": [apart, {key: {"$in": lists}}]} if lists else apart
        inner = condition if isinstance(condition, dict) else {"$eq": condition}
        return {key: {**inner, "$not": _NO_LIST}}
