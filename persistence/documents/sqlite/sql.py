"""Terms of a query as SQL over a table with the columns `id` and `doc`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from persistence.documents.query import And, Compare, Contains, In, Not, Or, Term
from persistence.documents.sqlite.encoding import BYTES, ID, TIME, to_stored

_SIGNS: Final = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NUMBERS: Final = "IN ('integer','real')"


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
            return self._joined("AND", term.terms) if term.terms else "1"
        if isinstance(term, Or):
            return self._joined("OR", term.terms) if term.terms else "0"
        if isinstance(term, Not):
            # A comparison with NULL is neither true nor false; NOT must turn both into true.
            return f"NOT ifnull({self.sql(term.term)},0)"
        if isinstance(term, Contains):
            path = json_path(term.field)
            element = self._equal("e.value", "e.type", term.value)
            return (
                f"(json_type(doc,{path})='array' AND EXISTS (SELECT 1 FROM json_each(doc,{path}) AS e WHERE {element}))"
            )
        kind = "typeof(id)" if term.field == self._id_field else f"json_type(doc,{json_path(term.field)})"
        value = self.value(term.field)
        if isinstance(term, In):
            return self._in(value, kind, term.values)
        if term.op == "eq":
            return self._equal(value, kind, term.value)
        return self._range(value, kind, term)

    def _joined(self, word: str, terms: tuple[Term, ...]) -> str:
        # Balanced, since SQLite limits the depth of an expression to 1,000.
        if len(terms) == 1:
            return self.sql(terms[0])
        middle = len(terms) // 2
        return f"({self._joined(word, terms[:middle])} {word} {self._joined(word, terms[middle:])})"

    def _bind(self, value: Any) -> str:
        self.parameters.append(value)
        return "?"

    def _equal(self, value: str, kind: str, wanted: Any) -> str:
        if wanted is None:
            return f"{value} IS NULL"
        if isinstance(wanted, bool):
            return f"({value}={self._bind(int(wanted))} AND {kind}='{str(wanted).lower()}')"
        if isinstance(wanted, int | float):
            return f"({value}={self._bind(wanted)} AND {kind} {_NUMBERS})"
        if isinstance(wanted, list | dict):
            text = json.dumps(to_stored(wanted), ensure_ascii=False, separators=(",", ":"))
            return f"({value}={self._bind(text)} AND {kind}='{'array' if isinstance(wanted, list) else 'object'}')"
        stored = to_stored(wanted)
        condition = f"{value}={self._bind(stored)}"
        # A nested list or object is extracted as its JSON text, which a text might equal.
        return f"({condition} AND {kind}='text')" if stored[:1] in ("[", "{") else condition

    def _in(self, value: str, kind: str, wanted: tuple[Any, ...]) -> str:
        simple = [to_stored(item) for item in wanted if isinstance(item, str | UUID | bytes | datetime)]
        texts = [item for item in simple if item[:1] not in ("[", "{")]
        rest = [item for item in wanted if not isinstance(item, UUID | bytes | datetime)]
        rest = [item for item in rest if not (isinstance(item, str) and item[:1] not in ("[", "{"))]
        numbers = [item for item in rest if isinstance(item, int | float) and not isinstance(item, bool)]
        others = [item for item in rest if isinstance(item, bool) or not isinstance(item, int | float)]
        choices = []
        if texts:
            choices.append(f"{value} IN ({','.join(self._bind(item) for item in texts)})")
        if numbers:
            choices.append(f"({value} IN ({','.join(self._bind(item) for item in numbers)}) AND {kind} {_NUMBERS})")
        unique = [item for position, item in enumerate(others) if item not in others[:position]]
        choices += [self._equal(value, kind, item) for item in unique]
        return f"({' OR '.join(choices)})" if choices else "0"

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
