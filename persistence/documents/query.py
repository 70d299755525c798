"""Queries: what a `where` mapping, a sort and a set of changes may say, and what it means.

    {"field": value}                     equal; None matches a missing nested field too
    {"a.b": value}                       a nested field
    {"field": {"$in": [...]}}            $eq $ne $in $nin $gt $gte $lt $lte $contains, several at once
    {"field": {"$not": {...}}}           what the conditions inside do not match
    {"$and": [w, ...]}, {"$or": [w, ...]}, {"$not": w}
    {}                                   everything

Ranges compare values of one kind only (numbers, text, bytes, times, UUIDs, truth values), as in
MongoDB: `{"age": {"$gt": 3}}` never matches text or None. `$ne`, `$nin` and `$not` match whatever
their opposites do not. `$contains` asks whether a list has an element; plain equality compares
whole lists. Mappings are parsed into the few classes below, which every provider translates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from persistence.documents.naming import check_field
from persistence.errors import InvalidName, InvalidQuery, InvalidValue

MAX_TERMS: Final = 1_000
"""Conditions in one query: every provider handles so many."""
MAX_LIST: Final = 10_000
"""Values in one `$in` or `$nin`."""
MAX_DEPTH: Final = 8
"""Levels of `$and`, `$or` and `$not` in one query: SQLite's parser has little room."""

Encode: TypeAlias = Callable[[str, Any], Any]
"""Turns a field path and a value for it into a plain document value, or raises `InvalidQuery`."""


@attrs.frozen
class Compare:
    """`field op value` with op one of eq, gt, gte, lt, lte."""

    field: str
    op: str
    value: Any


@attrs.frozen
class In:
    """The field equals one of the values."""

    field: str
    values: tuple[Any, ...]


@attrs.frozen
class Contains:
    """The field is a list that has an element equal to the value."""

    field: str
    value: Any


@attrs.frozen
class Not:
    """The term does not match."""

    term: Term


@attrs.frozen
class And:
    """All terms match; with no term, everything does."""

    terms: tuple[Term, ...] = ()


@attrs.frozen
class Or:
    """At least one term matches; with no term, nothing does."""

    terms: tuple[Term, ...] = ()


Term: TypeAlias = Compare | In | Contains | Not | And | Or

_RANGES: Final = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def parse_where(where: Mapping[str, Any], encode: Encode) -> Term:
    """WriterLock a `where` mapping into a term; `InvalidQuery` names what cannot be understood."""
    term = _parse(where, encode)
    if sum(1 for _ in _walk(term)) > MAX_TERMS:
        raise InvalidQuery(f"The query has more than {MAX_TERMS} conditions.")
    return term


def parse_sort(sort: Sequence[str | tuple[str, int]], id_field: str) -> tuple[tuple[str, int], ...]:
    """Give (field, 1 or -1) pairs that end with the id, which makes every order total."""
    if isinstance(sort, str):
        raise InvalidQuery(f"The sort {sort!r} is not a list of fields.")
    pairs: list[tuple[str, int]] = []
    for entry in sort:
        if isinstance(entry, str):
            field, direction = (entry[1:], -1) if entry.startswith("-") else (entry, 1)
        elif isinstance(entry, tuple | list) and len(entry) == 2:
            field, direction = entry
        else:
            raise InvalidQuery(f"{entry!r} is not a field to sort by.")
        if direction not in (1, -1) or isinstance(direction, bool):
            raise InvalidQuery(f"The direction of sort field {field!r} is neither 1 nor -1.")
        _field(field)
        if any(field == known for known, _ in pairs):
            raise InvalidQuery(f"The sort names {field!r} twice.")
        pairs.append((field, direction))
        if field == id_field:
            break
    if not pairs or pairs[-1][0] != id_field:
        pairs.append((id_field, 1))
    return tuple(pairs)


def parse_changes(changes: Mapping[str, Any], id_field: str, encode: Encode) -> dict[str, Any]:
    """Check new values of fields for `compare_and_set`; `InvalidQuery` for none, the id, or overlaps."""
    if not isinstance(changes, Mapping) or not changes:
        raise InvalidQuery("The changes are not a mapping with at least one field.")
    for path in changes:
        _field(path)
        if path == id_field:
            raise InvalidQuery(f"The id field {id_field!r} cannot be changed.")
        if any(path != other and path.startswith(f"{other}.") for other in changes):
            raise InvalidQuery(f"The changes set {path!r} and a field around it.")
    return {path: encode(path, value) for path, value in changes.items()}


def check_page(skip: int, limit: int | None) -> None:
    """Raise `InvalidQuery` unless skip and limit are whole numbers of at least zero."""
    for name, value in (("skip", skip), ("limit", 0 if limit is None else limit)):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise InvalidQuery(f"The {name} {value!r} is not a number of documents.")


def keyset(sort: tuple[tuple[str, int], ...], values: Sequence[Any]) -> tuple[Term, ...]:
    """What comes behind these values in this order, as stretches of the order that follow each other.

    For the order (a, b, id) those are: a and b equal and id behind; a equal and b behind; a behind. Each
    stretch is equalities and one range, so an index on the sort fields leads straight to its start.
    None sorts before every value, so ascending it has all values behind it, and descending it is the
    last stretch behind a value.
    """
    stretches: list[Term] = []
    for position in reversed(range(len(sort))):
        field, direction = sort[position]
        value = values[position]
        equal = tuple(Compare(name, "eq", known) for (name, _), known in zip(sort[:position], values, strict=False))
        behind: list[Term]
        if direction == 1:
            behind = [Not(Compare(field, "eq", None)) if value is None else Compare(field, "gt", value)]
        else:
            behind = [] if value is None else [Compare(field, "lt", value), Compare(field, "eq", None)]
        if position == len(sort) - 1:
            # The id is never None.
            behind = behind[:1]
        stretches += [And((*equal, term)) if equal else term for term in behind]
    return tuple(stretches)


def fixed_fields(term: Term) -> frozenset[str]:
    """The fields that have one value in all documents that match; sorting by them does nothing."""
    if isinstance(term, Compare) and term.op == "eq":
        return frozenset((term.field,))
    if isinstance(term, And):
        return frozenset().union(*(fixed_fields(inner) for inner in term.terms))
    return frozenset()


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """The value of a field or nested field; None where there is nothing."""
    value: Any = document
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def apply_changes(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the document with new values; `InvalidValue` where a nested field has nothing around it."""
    changed = dict(document)
    for path, value in changes.items():
        *around, last = path.split(".")
        holder = changed
        for step in around:
            inner = holder.get(step, {})
            if not isinstance(inner, Mapping):
                raise InvalidValue(f"Field {path!r} cannot be set: there is nothing around it in the document.")
            holder[step] = dict(inner)
            holder = holder[step]
        holder[last] = value
    return changed


def _parse(where: Any, encode: Encode, depth: int = 0) -> Term:
    if depth > MAX_DEPTH:
        raise InvalidQuery(f"The query is nested deeper than {MAX_DEPTH} levels.")
    if not isinstance(where, Mapping):
        raise InvalidQuery(f"{where!r} is not a query; a query is a mapping.")
    terms: list[Term] = []
    for key, value in where.items():
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise InvalidQuery(f"{key} needs a list of queries.")
            inner = tuple(_parse(item, encode, depth + 1) for item in value)
            terms.append(And(inner) if key == "$and" else Or(inner))
        elif key == "$not":
            terms.append(Not(_parse(value, encode, depth + 1)))
        else:
            terms.append(_conditions(_field(key), value, encode, depth))
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _conditions(field: str, value: Any, encode: Encode, depth: int) -> Term:
    if depth > MAX_DEPTH:
        raise InvalidQuery(f"The query is nested deeper than {MAX_DEPTH} levels.")
    if not (isinstance(value, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in value)):
        return Compare(field, "eq", encode(field, value))
    terms = tuple(_condition(field, operator, operand, encode, depth) for operator, operand in value.items())
    return terms[0] if len(terms) == 1 else And(terms)


def _condition(field: str, operator: str, operand: Any, encode: Encode, depth: int) -> Term:
    if operator == "$eq":
        return Compare(field, "eq", encode(field, operand))
    if operator == "$ne":
        return Not(Compare(field, "eq", encode(field, operand)))
    if operator in _RANGES:
        value = encode(field, operand)
        if value is None or isinstance(value, list | dict):
            raise InvalidQuery(f"{operator} on field {field!r} cannot compare with {operand!r}.")
        return Compare(field, _RANGES[operator], value)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list | tuple | set | frozenset):
            raise InvalidQuery(f"{operator} on field {field!r} needs a list of values.")
        if len(operand) > MAX_LIST:
            raise InvalidQuery(f"{operator} on field {field!r} has more than {MAX_LIST} values.")
        term = In(field, tuple(encode(field, item) for item in operand))
        return term if operator == "$in" else Not(term)
    if operator == "$contains":
        return Contains(field, encode(f"{field}.[]", operand))
    if operator == "$not":
        if not isinstance(operand, Mapping) or not operand:
            raise InvalidQuery(f"$not on field {field!r} needs a mapping of conditions.")
        return Not(_conditions(field, operand, encode, depth + 1))
    raise InvalidQuery(f"{operator!r} on field {field!r} is not an operator.")


def _field(path: Any) -> str:
    try:
        return check_field(path)
    except InvalidName as error:
        raise InvalidQuery(f"{path!r} is neither a field nor an operator.") from error


def _walk(term: Term) -> Iterator[Term]:
    yield term
    if isinstance(term, Not):
        yield from _walk(term.term)
    elif isinstance(term, And | Or):
        for inner in term.terms:
            yield from _walk(inner)
