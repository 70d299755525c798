"""Queries: what a `where` mapping and a sort may say, and what they mean on every provider.

    {"field": value}                     equal; None matches a missing nested field too
    {"a.b": value}                       a nested field
    {"field": {"$in": [...]}}            $eq $ne $in $nin $gt $gte $lt $lte $contains, several at once
    {"field": {"$exists": True}}         the document has the field, even with None in it
    {"field": {"$size": 2}}              a list of so many elements
    {"field": {"$regex": "^a.*z$"}}      text with a pattern; "$options": "i" beside it ignores case
    {"field": {"$not": {...}}}           what the conditions inside do not match
    {"$and": [w, ...]}, {"$or": [w, ...]}, {"$nor": [w, ...]}, {"$not": w}
    {}                                   everything

Numbers are equal if their values are, inside lists and dicts too; dicts are equal if their keys are in the
same order. Ranges compare values of one kind only (numbers, text, bytes, times, UUIDs, truth values), as in
MongoDB: `{"age": {"$gt": 3}}` never matches text or None. `$ne`, `$nin`, `$nor` and `$not` match whatever
their opposites do not. `$contains` asks whether a list has an element; plain equality compares whole lists.

A model is stored with all its fields, so `$exists` is true of each of them, and `{"field": {"$ne": None}}`
is what asks for a value. `$exists` tells of nested fields whose outer field is None, of keys of dicts, and
of documents written before the model had the field. Patterns of `$regex` are a part of regular expressions
that means the same everywhere and takes time in proportion to the text: see `persistence.documents.patterns`.

Mappings are parsed into the few classes below, which every provider translates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final, TypeAlias

import attrs

from persistence.documents.naming import check_field
from persistence.documents.patterns import compile_pattern
from persistence.errors import InvalidName, InvalidQuery

MAX_TERMS: Final = 1_000
"""Conditions in one query: every provider handles so many."""
MAX_VALUES: Final = 10_000
"""Values in all conditions of one query: SQLite binds 32,766 in its usual builds."""
MAX_BYTES: Final = 8 * 1024**2
"""Bytes of all values of one query: MongoDB takes commands of 16 MiB."""
MAX_SORT: Final = 32
"""Fields of a sort: MongoDB takes so many."""
MAX_DEPTH: Final = 8
"""Levels of `$and`, `$or`, `$nor` and `$not` in one query: SQLite's parser has little room."""

Where: TypeAlias = Mapping[str, Any]
"""A query as explained above."""
Sort: TypeAlias = Sequence[str | tuple[str, int]]
"""Fields to sort by: `"name"` or `("name", 1)` ascending, `"-name"` or `("name", -1)` descending."""
Encode: TypeAlias = Callable[[str, Any], Any]
"""Turns a field path and a value for it into a plain document value, or raises `InvalidQuery`."""


@attrs.frozen
class Compare:
    """One condition on one field.

    Args:
        field: its path.
        op: `eq`, `gt`, `gte`, `lt` or `lte` with a plain value; `in` with a tuple of them; `contains` (a list
            has this element); `exists` (True); `size` (a list's length); `regex` (a compiled pattern to `match`).
        value: what the field is compared with.
    """

    field: str
    op: str
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


Term: TypeAlias = Compare | Not | And | Or

_RANGES: Final = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def parse_where(where: Where, encode: Encode) -> Term:
    """Parse a `where` mapping; `InvalidQuery` names what cannot be understood or is too much."""
    term = _parse(where, encode)
    check_amount(term)
    return term


def check_amount(term: Term) -> None:
    """Raise `InvalidQuery` for more conditions or values than every provider takes."""
    terms = list(_walk(term))
    if len(terms) > MAX_TERMS:
        raise InvalidQuery(f"The query has more than {MAX_TERMS} conditions.")
    compared = [found for found in terms if isinstance(found, Compare)]
    values = [value for found in compared for value in (found.value if found.op == "in" else (found.value,))]
    if len(values) > MAX_VALUES or sum(map(_size, values)) > MAX_BYTES:
        raise InvalidQuery(f"The query has more than {MAX_VALUES} values or {MAX_BYTES // 1024**2} MiB of them.")


def parse_keys(entries: Iterable[Any]) -> Iterator[tuple[str, int]]:
    """(field, 1 or -1) of each entry: `"a"`, `"-a"` or such a pair; `InvalidQuery` where it is another, or repeated."""
    if isinstance(entries, Mapping | Set):  # the keys of a mapping have no direction, those of a set no order
        raise InvalidQuery(f"{entries!r} is not a list of fields.", hint="Use a list such as ['-created', 'name'].")
    known = set()
    for entry in entries:
        if isinstance(entry, str):
            entry = (entry[1:], -1) if entry.startswith("-") else (entry, 1)
        if not isinstance(entry, tuple | list) or len(entry) != 2 or isinstance(entry[1], bool):
            raise InvalidQuery(f"{entry!r} is neither a field, nor one with a direction.")
        field, direction = parse_field(entry[0]), entry[1]
        if direction not in (1, -1):
            raise InvalidQuery(f"The direction of field {field!r} is neither 1 nor -1.")
        if field in known:
            raise InvalidQuery(f"Field {field!r} is named twice.")
        known.add(field)
        yield field, direction


def parse_sort(sort: Sort, id_field: str) -> tuple[tuple[str, int], ...]:
    """Give (field, 1 or -1) pairs that end with the id, which makes every order total."""
    if isinstance(sort, str):
        raise InvalidQuery(f"The sort {sort!r} is not a list of fields.")
    pairs: list[tuple[str, int]] = []
    for field, direction in parse_keys(sort):
        pairs.append((field, direction))
        if field == id_field:
            break
    else:
        pairs.append((id_field, 1))
    if len(pairs) > MAX_SORT:
        raise InvalidQuery(f"The sort has more than {MAX_SORT} fields, the id included.")
    return tuple(pairs)


def check_page(skip: int, limit: int | None) -> None:
    """Raise `InvalidQuery` unless skip and limit are whole numbers of at least zero, in 62 bits."""
    for name, value in (("skip", skip), ("limit", 0 if limit is None else limit)):
        # MongoDB adds the two and needs the sum in 64 bits.
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
            raise InvalidQuery(f"The {name} {value!r} is not a number of documents.")


def keyset(sort: tuple[tuple[str, int], ...], values: Sequence[Any]) -> tuple[Term, ...]:
    """The keyset (seek) pagination predicate of these values, as ranges that follow each other in the order.

    For the order (a, b, id) the ranges are: a and b equal and id beyond; a equal and b beyond; a beyond. Each
    is equalities and one inequality, so an index on the sort fields leads straight to its start. None sorts
    before every value, so ascending all values are beyond it, and descending it is the last range.
    """
    ranges: list[Term] = []
    for position in reversed(range(len(sort))):
        field, direction = sort[position]
        value = values[position]
        equal = tuple(Compare(name, "eq", known) for (name, _), known in zip(sort[:position], values, strict=False))
        beyond: list[Term]
        if direction == 1:
            beyond = [Not(Compare(field, "eq", None)) if value is None else Compare(field, "gt", value)]
        else:
            beyond = [] if value is None else [Compare(field, "lt", value), Compare(field, "eq", None)]
        if position == len(sort) - 1:
            # The id is never None.
            beyond = beyond[:1]
        ranges += [And((*equal, term)) if equal else term for term in beyond]
    return tuple(ranges)


def fixed_fields(term: Term) -> frozenset[str]:
    """The fields that have one value in all documents that match; sorting by them does nothing."""
    if isinstance(term, Compare) and term.op == "eq":
        return frozenset((term.field,))
    if isinstance(term, And):
        return frozenset().union(*(fixed_fields(inner) for inner in term.terms))
    return frozenset()


def value_at(document: Mapping[str, Any], path: str, missing: Any = None) -> Any:
    """The value of a field or nested field, or `missing` where the document has no such field."""
    value: Any = document
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return missing
        value = value[step]
    return value


def _parse(where: Any, encode: Encode, depth: int = 0) -> Term:
    _check_depth(depth)
    if not isinstance(where, Mapping):
        raise InvalidQuery(f"{where!r} is not a query; a query is a mapping.")
    terms: list[Term] = []
    for key, value in where.items():
        if key in ("$and", "$or", "$nor"):
            if not isinstance(value, list | tuple) or not value:
                raise InvalidQuery(f"{key} needs a list of queries.")
            inner = tuple(_parse(item, encode, depth + 1) for item in value)
            terms.append(And(inner) if key == "$and" else Or(inner) if key == "$or" else Not(Or(inner)))
        elif key == "$not":
            terms.append(Not(_parse(value, encode, depth + 1)))
        else:
            terms.append(_conditions(parse_field(key), value, encode, depth))
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _conditions(field: str, value: Any, encode: Encode, depth: int) -> Term:
    _check_depth(depth)
    if not (isinstance(value, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in value)):
        return Compare(field, "eq", encode(field, value))
    operands = dict(value)
    if "$regex" in operands:
        operands["$regex"] = (operands["$regex"], operands.pop("$options", ""))
    terms = tuple(_condition(field, operator, operand, encode, depth) for operator, operand in operands.items())
    return terms[0] if len(terms) == 1 else And(terms)


def _condition(field: str, operator: str, operand: Any, encode: Encode, depth: int) -> Term:
    about = f"{operator} on field {field!r}"
    if operator in ("$ne", "$nin"):
        return Not(_condition(field, "$eq" if operator == "$ne" else "$in", operand, encode, depth))
    if operator == "$eq":
        return Compare(field, "eq", encode(field, operand))
    if operator in _RANGES:
        value = encode(field, operand)
        if value is None or isinstance(value, list | dict):
            raise InvalidQuery(f"{about} cannot compare with {operand!r}.")
        return Compare(field, _RANGES[operator], value)
    if operator == "$in":
        if not isinstance(operand, list | tuple | set | frozenset):
            raise InvalidQuery(f"{about} needs a list of values.")
        return Compare(field, "in", tuple(encode(field, item) for item in operand))
    if operator == "$contains":
        return Compare(field, "contains", encode(f"{field}.[]", operand))
    if operator == "$exists":
        encode(field, None)
        if not isinstance(operand, bool):
            raise InvalidQuery(f"{about} is neither True nor False.")
        return Compare(field, "exists", True) if operand else Not(Compare(field, "exists", True))
    if operator == "$size":
        encode(f"{field}.[]", None)
        if isinstance(operand, bool) or not isinstance(operand, int) or not 0 <= operand < 2**31:
            raise InvalidQuery(f"{about} is not a number of elements.")
        return Compare(field, "size", operand)
    if operator == "$regex":
        text, options = operand
        if not isinstance(text, str) or options not in ("", "i"):
            raise InvalidQuery(f"{about} needs text, and as $options nothing but 'i'.")
        return Compare(field, "regex", compile_pattern(encode(field, text), options))
    if operator == "$not":
        if not isinstance(operand, Mapping) or not operand:
            raise InvalidQuery(f"{about} needs a mapping of conditions.")
        return Not(_conditions(field, operand, encode, depth + 1))
    raise InvalidQuery(f"{operator!r} on field {field!r} is not an operator.")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidQuery(f"The query is nested deeper than {MAX_DEPTH} levels.")


def parse_field(path: Any) -> str:
    """Give back the path of a field, or raise `InvalidQuery`."""
    try:
        return check_field(path)
    except InvalidName as error:
        raise InvalidQuery(f"{path!r} is neither a field nor an operator.") from error


def _walk(term: Term) -> Iterator[Term]:
    yield term
    for inner in (term.term,) if isinstance(term, Not) else term.terms if isinstance(term, And | Or) else ():
        yield from _walk(inner)


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return sum(len(name) + _size(item) for name, item in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return 16 + (len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0)
