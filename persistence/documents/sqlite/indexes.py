"""Indexes of a table of documents: the statements that make them, and what the database tells of them.

An index is described in a comment within its own text, which SQLite keeps, so that every program
that opens the file finds the description. Its label in the file is `COLLECTION/NAME`: no collection's
name has a slash.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from typing import Final

import attrs

from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.sqlite.encoding import TIME
from persistence.documents.sqlite.sql import LiteralWhere, quoted
from persistence.errors import UniqueViolation

_DESCRIPTION: Final = re.compile(r"/\*(\{.*?\})\*/", re.DOTALL)
_VIOLATED: Final = re.compile(r"index '(.+)'")
_EXPIRED_AT_ONCE: Final = 1000
"""Expired documents that one insert deletes at most."""


class TableIndexes:
    """The indexes that one collection is to have.

    Args:
        name: of the collection.
        id_field: the field that the column `id` holds.
        indexes: as resolved for the model.
    """

    def __init__(self, name: str, id_field: str, indexes: Sequence[IndexSpec]) -> None:
        self._name = name
        self._table = quoted(name)
        self._where = LiteralWhere(id_field)
        self._wanted = [
            attrs.evolve(spec, condition=None if spec.condition is None else self._where.sql(spec.condition))
            for spec in indexes
        ]

    def is_complete(self, connection: sqlite3.Connection) -> bool:
        """Whether the table and all its indexes exist; `InvalidQuery` if some contradict them."""
        query = "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"
        exists = connection.execute(query, (self._name,)).fetchone() is not None
        return exists and not missing_indexes(self._existing(connection), self._wanted)

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the table and those of its indexes that do not exist; `InvalidQuery`, `UniqueViolation`."""
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} (id NOT NULL PRIMARY KEY, doc TEXT NOT NULL)")
        # Earlier versions made indexes without a description, under labels that two collections might share.
        query = (
            "SELECT name FROM sqlite_master WHERE type='index' AND tbl_name=? AND name LIKE ? || '\\_\\_%' ESCAPE '\\'"
        )
        for (label,) in connection.execute(query, (self._name, self._name)).fetchall():
            connection.execute(f"DROP INDEX {quoted(label)}")
        for spec in missing_indexes(self._existing(connection), self._wanted):
            for sql in self._statements(spec):
                try:
                    connection.execute(sql)
                except sqlite3.IntegrityError as error:
                    raise UniqueViolation(self._name, None, spec.fields) from error

    def _existing(self, connection: sqlite3.Connection) -> list[IndexSpec]:
        query = "SELECT sql FROM sqlite_master WHERE type='index' AND tbl_name=?"
        found = [described(sql) for (sql,) in connection.execute(query, (self._name,))]
        return [spec for spec in found if spec is not None]

    def _statements(self, spec: IndexSpec) -> list[str]:
        label = f"{self._name}/{spec.name}"
        values = [(self._where.value(field), " DESC" if way < 0 else "") for field, way in spec.keys]
        # JSON may have a slash escaped; the comment would end at one behind an asterisk.
        note = "/*" + json.dumps(attrs.asdict(spec)).replace("*/", "*\\/") + "*/"
        found: list[str] = []
        if spec.unique:
            # SQLite lets NULLs differ in unique indexes, MongoDB does not: a text stands in for them,
            # one that no stored text equals. Queries do not match that expression, so they get their own.
            alike = ",".join(f"ifnull({value},'$'){way}" for value, way in values)
            part = "" if spec.condition is None else f" WHERE {spec.condition}"
            found.append(f"CREATE UNIQUE INDEX {quoted(label)} ON {self._table} ({note}{alike}){part}")
            note = ""
        # Ending with the id makes the index give the whole order of a sorted query. It has every document:
        # SQLite would use one that has not only where a query repeats the condition word by word.
        ordered = ",".join([*(f"{value}{way}" for value, way in values), "id"])
        found.append(f"CREATE INDEX {quoted(f'{label}/order')} ON {self._table} ({note}{ordered})")
        if spec.expire_after is not None:
            found.append(self._expiry(f"{label}/expiry", values[0][0], spec.expire_after))
        return found

    def _expiry(self, label: str, value: str, seconds: int) -> str:
        latest = f"'{TIME}'||strftime('%Y-%m-%dT%H:%M:%fZ','now','-{seconds} seconds')"
        expired = f"SELECT rowid FROM {self._table} WHERE {value}>='{TIME}' AND {value}<{latest}"
        return (
            f"CREATE TRIGGER {quoted(label)} BEFORE INSERT ON {self._table} BEGIN DELETE FROM {self._table} "
            f"WHERE rowid IN ({expired} LIMIT {_EXPIRED_AT_ONCE}); END"
        )


def described(sql: str | None) -> IndexSpec | None:
    """The index that a stored text describes; None for one of SQLite's own and for the second of two."""
    found = _DESCRIPTION.search(sql or "")
    if found is None:
        return None
    known = json.loads(found[1])
    return IndexSpec(**{**known, "keys": tuple((field, way) for field, way in known["keys"])})


def violated_fields(connection: sqlite3.Connection, error: sqlite3.IntegrityError) -> tuple[str, ...]:
    """The fields of the unique index that refused a document; none if its id is taken."""
    # SQLite says: UNIQUE constraint failed: index 'LABEL', or: UNIQUE constraint failed: TABLE.id
    label = _VIOLATED.search(str(error))
    if label is None:
        return ()
    row = connection.execute("SELECT sql FROM sqlite_master WHERE type='index' AND name=?", (label[1],)).fetchone()
    spec = described(row[0]) if row else None
    return spec.fields if spec else (label[1],)
