"""One table of documents: the statements of a collection."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from persistence.documents.collection import Query, Write
from persistence.documents.query import And, Term, fixed_fields, keyset
from persistence.documents.sqlite.encoding import from_text, to_stored, to_text
from persistence.documents.sqlite.indexes import violated_fields
from persistence.documents.sqlite.sql import Where, quoted
from persistence.documents.sync_collection import Runner, SyncCollection
from persistence.documents.values import Document, Id
from persistence.errors import DocumentExists, DocumentNotFound, UniqueViolation

_STATEMENTS: Final = {
    "insert": "INSERT INTO {table} (id,doc) VALUES (:id,:doc)",
    "upsert": "INSERT INTO {table} (id,doc) VALUES (:id,:doc) ON CONFLICT(id) DO UPDATE SET doc=excluded.doc",
    "replace": "UPDATE {table} SET doc=:doc WHERE id=:id",
    "delete": "DELETE FROM {table} WHERE id=:id",
}


class SqliteCollection(SyncCollection[sqlite3.Connection]):
    """Documents in a table with the columns `id` and `doc`.

    Args:
        runner: runs calls on a connection.
        name: of the collection and its table.
        id_field: the field that the column `id` holds.
    """

    def __init__(self, runner: Runner[sqlite3.Connection], name: str, id_field: str) -> None:
        super().__init__(runner, name)
        self._id_field = id_field
        self._table = quoted(name)

    def _get(self, store: sqlite3.Connection, id_: Id) -> Document | None:
        row = store.execute(f"SELECT doc FROM {self._table} WHERE id=?", (to_stored(id_),)).fetchone()
        return None if row is None else from_text(row[0])

    def _page(self, store: sqlite3.Connection, query: Query, size: int) -> list[Document]:
        after = (And(),) if query.after is None else keyset(query.sort, query.after)
        ranges = [And((query.term, term)) for term in after]
        found: list[Document] = []
        to_skip = query.skip
        for number, term in enumerate(ranges):
            rows = store.execute(*self._select(term, query, size - len(found), to_skip)).fetchall()
            found += [from_text(text) for (text,) in rows]
            if len(found) == size:
                break
            if to_skip and number + 1 < len(ranges):
                to_skip = 0 if rows else max(0, to_skip - self._count(store, term))
        return found

    def _count(self, store: sqlite3.Connection, term: Term) -> int:
        where = Where(self._id_field)
        sql = f"SELECT count(*) FROM {self._table} WHERE {where.sql(term)}"
        found: int = store.execute(sql, where.parameters).fetchone()[0]
        return found

    def _write(self, store: sqlite3.Connection, write: Write) -> None:
        sql = _STATEMENTS[write.kind].format(table=self._table)
        key = to_stored(write.id)
        try:
            count = store.execute(sql, {"id": key, "doc": to_text(write.document or {})}).rowcount
        except sqlite3.IntegrityError as error:
            # An insert may violate both; the taken id is reported first.
            taken = store.execute(f"SELECT 1 FROM {self._table} WHERE id=?", (key,)).fetchone()
            fields = violated_fields(store, error)
            if fields and not (taken and write.kind == "insert"):
                raise UniqueViolation(self.name, write.id, fields) from error
            raise DocumentExists(self.name, write.id) from error
        if count == 0:
            raise DocumentNotFound(self.name, write.id)

    def _select(self, term: Term, query: Query, limit: int, skip: int) -> tuple[str, list[Any]]:
        where = Where(self._id_field)
        condition = where.sql(term)
        # SQLite takes the order from an index only if nothing is sorted by that is the same everywhere.
        fixed = fixed_fields(term)
        fields = [pair for pair in query.sort if pair[0] not in fixed] or [query.sort[-1]]
        order = ",".join(f"{where.value(field)}{' DESC' if way < 0 else ''}" for field, way in fields)
        sql = f"SELECT doc FROM {self._table} WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?"
        return sql, [*where.parameters, limit, skip]
