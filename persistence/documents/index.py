"""Indexes: what they are declared with, what they mean for a model, and which of them have yet to be made."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin
from uuid import UUID

import attrs

from persistence.documents.query import And, Compare, Encode, Or, Term, parse_keys, parse_where
from persistence.documents.shape import Shape, is_model, members
from persistence.errors import InvalidName, InvalidQuery

MAX_FIELDS: Final = 31
"""Fields of one index. MongoDB allows 32, one of which is the id that plain indexes end with."""
MAX_INDEXES: Final = 63
"""Indexes of one collection. MongoDB allows 64, one of which is that of the id."""
MAX_EXPIRY: Final = 2**31 - 1
"""Seconds until a document may expire, as MongoDB limits them."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}", re.ASCII)
_LONGEST_NAME: Final = 120
_INDEXABLE: Final = frozenset({"eq", "in", "gt", "gte", "lt", "lte"})

Keys: TypeAlias = tuple[tuple[str, int], ...]
"""Fields, each with 1 (ascending) or -1 (descending)."""

# The smallest value of each kind that an index orders, None excepted. The codec stores times from year 1 on.
_SMALLEST: Final[Mapping[type, Any]] = {
    str: "",
    float: -sys.float_info.max,
    bool: False,
    bytes: b"",
    UUID: UUID(int=0),
    datetime: datetime.min.replace(tzinfo=UTC),
}


def _keys(fields: str | Sequence[str | tuple[str, int]] | Mapping[str, int]) -> Keys:
    entries: Iterable[Any] = list(fields.items()) if isinstance(fields, Mapping) else fields
    keys = tuple(parse_keys([fields] if isinstance(fields, str) else entries))
    if not 0 < len(keys) <= MAX_FIELDS:
        raise InvalidQuery(f"An index has 1 to {MAX_FIELDS} fields, not {len(keys)}.")
    return keys


@attrs.frozen
class Index:
    """An index over one or more fields, in this order.

    Only a unique index, or one with `expire_after`, changes what a call does; any other only makes
    queries faster. In a unique index None counts as a value: two documents with None in all its fields
    collide, unless it is sparse.

    Args:
        fields: a field, a sequence of fields as in a sort (`"a"`, `"-a"`, `("a", -1)`), or a mapping of
            fields to 1 (ascending) or -1 (descending).
        unique: whether two documents must not have the same values in all the fields.
        sparse: leave out documents that have None in all the fields.
        where: leave out documents that do not match this query. It may use equality, `$in`, `$gt`, `$gte`,
            `$lt`, `$lte`, `$and` and `$or`.
        expire_after: seconds after the time in its one field, by the database's own clock, from which the
            document may be deleted by the database at any moment, and never before. A document with None
            there does not expire. MongoDB deletes within about a minute; SQLite and memory with the next
            document that is inserted.
        name: what the database calls it; made of the fields by default.
    """

    keys: Keys = attrs.field(converter=_keys, alias="fields")
    unique: bool = attrs.field(default=False, kw_only=True)
    sparse: bool = attrs.field(default=False, kw_only=True)
    where: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    expire_after: int | None = attrs.field(default=None, kw_only=True)
    name: str = attrs.field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _default_name(self.keys, unique=self.unique))
        if not _NAME.fullmatch(self.name):
            hint = "Use a letter or digit, then up to 119 letters, digits, dots, hyphens and underscores."
            raise InvalidName(f"{self.name!r} is not a name for an index.", hint=hint)
        seconds = self.expire_after
        if seconds is not None and (type(seconds) is not int or not 0 <= seconds <= MAX_EXPIRY):
            raise InvalidQuery(f"Documents cannot expire after {seconds!r} seconds.")

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field for field, _ in self.keys)


@attrs.frozen
class IndexSpec:
    """An index of a collection as it is to be made, or as the database has it.

    Attributes:
        name: what the database calls it.
        keys: its fields with their directions.
        unique: whether it refuses equal values.
        condition: what tells the documents in it from those left out: a term, or what a database makes
            of it; None if it has all.
        expire_after: seconds after which documents expire, if they do.
    """

    name: str
    keys: Keys
    unique: bool = False
    condition: Any = None
    expire_after: int | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field for field, _ in self.keys)


def resolve_indexes(indexes: Iterable[Index], shape: Shape, id_field: str, encode: Encode) -> list[IndexSpec]:
    """What the indexes mean for a model.

    Raises:
        InvalidQuery: a field is not one of the model or may hold a list, a dict or a model, which the
            databases index each in another way; the index is that of the id, which every collection has;
            `expire_after` is not on one time; `where` says what not every database can; two of the
            indexes contradict each other.
    """
    specs = [_resolved(index, shape, id_field, encode) for index in indexes]
    if len(specs) > MAX_INDEXES:
        raise InvalidQuery(f"A collection has at most {MAX_INDEXES} indexes, not {len(specs)}.")
    return missing_indexes((), specs)


def check_sort(shape: Shape, field: str) -> None:
    """Raise `InvalidQuery` unless the field holds values of one kind, which sort alike everywhere, or None."""
    kinds = _kinds(shape.hint(field), field)
    if len(kinds) != 1 or object in kinds:
        raise InvalidQuery(f"Field {field!r} cannot be sorted by: its values may have no common order.")


def missing_indexes(existing: Iterable[IndexSpec], wanted: Iterable[IndexSpec]) -> list[IndexSpec]:
    """Those of the wanted indexes that do not exist yet under any name.

    Raises:
        InvalidQuery: an index over the same fields exists with other options, or another one of that name.
    """
    known, missing = list(existing), []
    for spec in wanted:
        alike = [other for other in known if (other.keys, other.unique) == (spec.keys, spec.unique)]
        if any(attrs.evolve(other, name=spec.name) == spec for other in alike):
            continue
        # SQLite does not tell capital letters in names from small ones.
        alike += [other for other in known if other.name.casefold() == spec.name.casefold()]
        if alike:
            one, other = (f"{index.name!r} over {', '.join(index.fields)}" for index in (spec, alike[0]))
            hint = "Declare the same options, use another name, or delete the index that exists."
            raise InvalidQuery(f"The index {one} contradicts the index {other}.", hint=hint)
        known.append(spec)
        missing.append(spec)
    return missing


def _default_name(keys: Keys, *, unique: bool) -> str:
    fields = "_".join(field if direction > 0 else f"{field}_desc" for field, direction in keys)
    name = fields.replace(".", "__") + ("_unique" if unique else "_plain")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17]}_{digest}"


def _resolved(index: Index, shape: Shape, id_field: str, encode: Encode) -> IndexSpec:
    if index.fields == (id_field,):
        raise InvalidQuery(f"The id {id_field!r} has a unique index in every collection.", hint="Leave this one out.")
    kinds = {field: _kinds(shape.hint(field), field) for field in index.fields}
    for field in index.fields:
        shape.check_comparable(field)
    if index.expire_after is not None and list(kinds.values()) != [{datetime}]:
        raise InvalidQuery(f"Documents expire by one field with a time, not by {', '.join(index.fields)}.")
    terms: list[Term] = []
    if index.sparse:
        terms.append(_any_value(kinds))
    if index.where is not None:
        terms.append(_checked(parse_where(index.where, encode), index, shape))
    condition = None if not terms else terms[0] if len(terms) == 1 else And(tuple(terms))
    # Every plain index of several fields ends with the id, whether that was asked for or not.
    ends_with_id = not index.unique and len(index.keys) > 1 and index.keys[-1] == (id_field, 1)
    keys = index.keys[:-1] if ends_with_id else index.keys
    return IndexSpec(index.name, keys, index.unique, condition, index.expire_after)


def _any_value(kinds: Mapping[str, set[type]]) -> Term:
    """At least one of the fields is not None, said in terms that partial indexes of every database know."""
    terms: list[Term] = []
    for field, possible in kinds.items():
        terms += [Compare(field, "gte", smallest) for kind, smallest in _SMALLEST.items() if kind in possible]
        if possible - _SMALLEST.keys():
            raise InvalidQuery(f"The type of field {field!r} is not one that a sparse index can be over.")
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _checked(term: Term, index: Index, shape: Shape) -> Term:
    if isinstance(term, And | Or):
        for inner in term.terms:
            _checked(inner, index, shape)
        usable = bool(term.terms)
    else:
        usable = isinstance(term, Compare) and term.op in _INDEXABLE
    if not usable:
        hint = "Use equality, $in, $gt, $gte, $lt, $lte, $and and $or."
        raise InvalidQuery(f"The `where` of the index {index.name!r} says what not every database allows.", hint=hint)
    if isinstance(term, Compare):
        _kinds(shape.hint(term.field), term.field)
    return term


def _kinds(hint: Any, field: str) -> set[type]:
    """The kinds of values in a field, None excepted: keys of `_SMALLEST`, or object for what is none of them."""
    kinds = set[type]()
    for member in members(hint):
        if get_origin(member) is Literal:
            kinds = kinds.union(*(_kinds(type(value), field) for value in get_args(member)))
        elif isinstance(member, type) and issubclass(member, Enum):
            kinds = kinds.union(*(_kinds(type(known.value), field) for known in member))
        elif not isinstance(member, type) or member in (Any, object) or is_model(member) or _holds_many(member):
            text = f"Field {field!r} cannot be indexed or sorted by: it may hold a list, a dict or a model."
            raise InvalidQuery(text, hint="Give it a type of single values, or use the fields inside of it.")
        else:
            kinds.add(_kind(member))
    return kinds


def _holds_many(hint: type) -> bool:
    return issubclass(hint, Iterable) and not issubclass(hint, str | bytes | bytearray | memoryview)


def _kind(hint: type) -> type:
    if issubclass(hint, bool | UUID | datetime):
        return next(kind for kind in (bool, UUID, datetime) if issubclass(hint, kind))
    if issubclass(hint, int | float | timedelta):
        return float
    if issubclass(hint, bytes | bytearray | memoryview):
        return bytes
    # The codec stores dates as text.
    return str if issubclass(hint, str | date) else object
