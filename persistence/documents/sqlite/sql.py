"""Terms of a query as SQL over a table with the columns `id` and `doc`."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from persistence.documents.query import And, Compare, Not, Or, Term
from persistence.documents.sqlite.encoding import BYTES, ID, TIME, from_stored, json_text, to_stored

_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NUMBERS: Final = "IN ('integer','real')"


_NULL: Final = "{value} IS NULL"


def register_functions(connection: sqlite3.Connection) -> None:
    """Define the SQL functions that conditions use."""
    connection.create_function("has_pattern", 2, _has_pattern, deterministic=True)
    connection.create_function("canonical", 1, _canonical, deterministic=True)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def json_path(field: str) -> str:
    """The SQLite JSON path of a field, as an SQL literal."""
    return "'$" + "".join(f'."{step}"' for step in field.split(".")) + "'"


class Where:
    """Builds one condition and the values of its parameters."""

    def __init__(self, id_field: str) -> None:
        self._id_field = id_field
        self.parameters: list[Any] = []

    def value(self, field: str) -> str:
        """The expression of a field's value: the very one that indexes are made of."""
        return "id" if field == self._id_field else f"json_extract(doc,{json_path(field)})"

    def sql(self, term: Term) -> str:
        """The condition of a term."""
        if isinstance(term, And):
            return self._joined("AND", list(map(self.sql, term.terms))) if term.terms else "1"
        if isinstance(term, Or):
            return self._joined("OR", list(map(self.sql, term.terms))) if term.terms else "0"
        if isinstance(term, Not):
            # A comparison with NULL is neither true nor false; NOT must turn both into true.
            return f"NOT ifnull({self.sql(term.term)},0)"
        path = json_path(term.field)
        value = self.value(term.field)
        kind = "typeof(id)" if term.field == self._id_field else f"json_type(doc,{path})"
        if term.op == "exists":
            return f"{kind} IS NOT NULL"
        if term.op == "size":
            return f"({kind}='array' AND json_array_length(doc,{path})={self._bind(term.value)})"
        if term.op == "contains":
            element = self._in("e.value", "e.type", (term.value,))
            return f"({kind}='array' AND EXISTS (SELECT 1 FROM json_each(doc,{path}) AS e WHERE {element}))"
        if term.op == "regex":
            return f"({kind}='text' AND has_pattern({value},{self._bind(term.value.pattern)}))"
        if term.op in ("eq", "in"):
            return self._in(value, kind, (term.value,) if term.op == "eq" else term.value)
        return self._range(value, kind, term)

    def _joined(self, word: str, conditions: list[str]) -> str:
        # Balanced, since SQLite limits the depth of an expression to 1,000.
        if len(conditions) == 1:
            return conditions[0]
        middle = len(conditions) // 2
        return f"({self._joined(word, conditions[:middle])} {word} {self._joined(word, conditions[middle:])})"

    def _bind(self, value: Any) -> str:
        self.parameters.append(value)
        return "?"

    def _in(self, value: str, kind: str, wanted: tuple[Any, ...]) -> str:
        """That a value equals one of those wanted: one comparison for all of a kind."""
        groups: dict[str, list[Any]] = {}
        for item in wanted:
            group, stored = _equal_to(item)
            groups.setdefault(group, []).append(stored)
        choices = []
        for group, items in groups.items():
            bound = ",".join(map(self._bind, items)) if group != _NULL else ""
            choices.append(
                group.format(value=value, kind=kind, bound=f"={bound}" if len(items) == 1 else f" IN ({bound})")
            )
        return self._joined("OR", choices) if choices else "0"

    def _range(self, value: str, kind: str, term: Compare) -> str:
        wanted = term.value
        sign = _SIGNS[term.op]
        if isinstance(wanted, bool):
            return f"({value}{sign}{self._bind(int(wanted))} AND {kind} IN ('true','false'))"
        if isinstance(wanted, int | float):
            return f"({value}{sign}{self._bind(wanted)} AND {kind} {_NUMBERS})"
        compared = f"{value}{sign}{self._bind(to_stored(wanted))}"
        tag = {datetime: TIME, UUID: ID, bytes: BYTES}.get(type(wanted))
        if tag is not None:
            # Within the tag: from "$t:" to before "$t;", the next character.
            bound = f"{value}<'{tag[:2]};'" if sign[0] == ">" else f"{value}>='{tag}'"
            return f"({compared} AND {bound})"
        if term.field == self._id_field:
            return compared if sign[0] == ">" else f"({compared} AND {value}>='')"
        # Text of the field itself, neither of a tag nor of a nested list or object.
        return f"({compared} AND {kind}='text' AND {value} NOT GLOB '$[tub]:*')"


class LiteralWhere(Where):
    """Builds a condition with its values in its text, as indexes need it."""

    def _bind(self, value: Any) -> str:
        return str(value) if isinstance(value, int | float) else "'" + value.replace("'", "''") + "'"


def _equal_to(wanted: Any) -> tuple[str, Any]:
    """The condition for values equal to this one, and what it binds."""
    if wanted is None:
        return _NULL, None
    if isinstance(wanted, bool):
        return f"({{value}}{{bound}} AND {{kind}}='{str(wanted).lower()}')", int(wanted)
    if isinstance(wanted, int | float):
        return f"({{value}}{{bound}} AND {{kind}} {_NUMBERS})", wanted
    if isinstance(wanted, list | dict):
        text = json_text(to_stored(wanted))
        canonical = _canonical(text)
        kind = "array" if isinstance(wanted, list) else "object"
        # Only numbers can be written in two ways. Without CASE, SQLite may call the function for other kinds too.
        value = f"CASE {{kind}} WHEN '{kind}' THEN canonical({{value}}) END" if re.search(r"\d", text) else "{value}"
        return f"({value}{{bound}} AND {{kind}}='{kind}')", canonical
    stored = to_stored(wanted)
    # A nested list or object is extracted as its JSON text, which a text might equal.
    return ("({value}{bound} AND {kind}='text')" if stored[:1] in ("[", "{") else "{value}{bound}"), stored


def _has_pattern(stored: str, pattern: str) -> bool:
    text = from_stored(stored)
    return isinstance(text, str) and re.compile(pattern, re.ASCII | re.DOTALL).match(text) is not None


def _canonical(text: str) -> str:
    """JSON text in which numbers that are equal are written alike."""
    return json_text(json.loads(text, parse_float=_whole))


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number
