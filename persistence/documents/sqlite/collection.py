"""One table of documents: the statements of a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from persistence.documents.changes import Changes
from persistence.documents.codec import Document
from persistence.documents.collection import Query, Write, write_each
from persistence.documents.protocol import Id
from persistence.documents.query import And, Term, fixed_fields, keyset
from persistence.documents.sqlite.encoding import from_text, to_stored, to_text
from persistence.documents.sqlite.indexes import violated_fields
from persistence.documents.sqlite.sql import Where, quoted
from persistence.errors import DocumentExists, DocumentNotFound, PersistenceError, UniqueViolation

T = TypeVar("T")

_PAGE: Final = 500
_STATEMENTS: Final = {
    "insert": "INSERT INTO {table} (id,doc) VALUES (:id,:doc)",
    "upsert": "INSERT INTO {table} (id,doc) VALUES (:id,:doc) ON CONFLICT(id) DO UPDATE SET doc=excluded.doc",
    "replace": "UPDATE {table} SET doc=:doc WHERE id=:id",
    "delete": "DELETE FROM {table} WHERE id=:id",
}


class Runner(Protocol):
    """Runs calls on a connection: each in a transaction of its own, or as steps of one."""

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call that reads."""
        ...

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call that writes, all or nothing."""
        ...


class SqliteCollection:
    """Documents in a table with the columns `id` and `doc`.

    Args:
        runner: where the calls run.
        name: of the collection and its table.
        id_field: the field that the column `id` holds.
    """

    def __init__(self, runner: Runner, name: str, id_field: str) -> None:
        self.runner = runner
        self.name = name
        self.id_field = id_field
        self._table = quoted(name)

    def on(self, runner: Runner) -> SqliteCollection:
        """See `persistence.documents.collection.Collection`."""
        return SqliteCollection(runner, self.name, self.id_field)

    async def get(self, id_: Id) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        sql, key = f"SELECT doc FROM {self._table} WHERE id=?", (to_stored(id_),)
        row = await self.runner.read(lambda connection: connection.execute(sql, key).fetchone())
        return None if row is None else from_text(row[0])

    async def page(self, position: Any) -> tuple[list[Document], Query | None]:
        """See `persistence.documents.collection.Collection`."""
        query: Query = position
        size = query.page_size(_PAGE)
        after = (And(),) if query.after is None else keyset(query.sort, query.after)
        ranges = [And((query.term, term)) for term in after]

        def run(connection: sqlite3.Connection) -> list[Document]:
            found: list[Document] = []
            to_skip = query.skip
            for number, term in enumerate(ranges):
                rows = connection.execute(*self._select(term, query, size - len(found), to_skip)).fetchall()
                found += [from_text(text) for (text,) in rows]
                if len(found) == size:
                    break
                if to_skip and number + 1 < len(ranges):
                    to_skip = 0 if rows else max(0, to_skip - self._count(connection, term))
            return found

        page = await self.runner.read(run)
        return page, query.following(page, size)

    async def count(self, term: Term) -> int:
        """See `persistence.documents.collection.Collection`."""
        return await self.runner.read(lambda connection: self._count(connection, term))

    async def write(self, write: Write) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self.runner.write(lambda connection: self._write(connection, write))

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        sql, key = f"SELECT doc FROM {self._table} WHERE id=?", (to_stored(id_),)

        def run(connection: sqlite3.Connection) -> Document | None:
            row = connection.execute(sql, key).fetchone()
            if row is None:
                raise DocumentNotFound(self.name, id_)
            changed = changes.apply(from_text(row[0]), expected)
            if changed is not None:
                self._write(connection, Write("replace", id_, changed))
            return changed

        return await self.runner.write(run)

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        """See `persistence.documents.collection.Collection`."""
        return await self.runner.write(lambda connection: write_each(writes, partial(self._write, connection)))

    def _select(self, term: Term, query: Query, limit: int, skip: int) -> tuple[str, list[Any]]:
        where = Where(self.id_field)
        condition = where.sql(term)
        # SQLite takes the order from an index only if nothing is sorted by that is the same everywhere.
        fixed = fixed_fields(term)
        fields = [pair for pair in query.sort if pair[0] not in fixed] or [query.sort[-1]]
        order = ",".join(f"{where.value(field)}{' DESC' if way < 0 else ''}" for field, way in fields)
        sql = f"SELECT doc FROM {self._table} WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?"
        return sql, [*where.parameters, limit, skip]

    def _count(self, connection: sqlite3.Connection, term: Term) -> int:
        where = Where(self.id_field)
        sql = f"SELECT count(*) FROM {self._table} WHERE {where.sql(term)}"
        found: int = connection.execute(sql, where.parameters).fetchone()[0]
        return found

    def _write(self, connection: sqlite3.Connection, write: Write) -> None:
        sql = _STATEMENTS[write.kind].format(table=self._table)
        key = to_stored(write.id)
        try:
            count = connection.execute(sql, {"id": key, "doc": to_text(write.document or {})}).rowcount
        except sqlite3.IntegrityError as error:
            # An insert may violate both; the taken id is reported first.
            taken = connection.execute(f"SELECT 1 FROM {self._table} WHERE id=?", (key,)).fetchone()
            fields = violated_fields(connection, error)
            if fields and not (taken and write.kind == "insert"):
                raise UniqueViolation(self.name, write.id, fields) from error
            raise DocumentExists(self.name, write.id) from error
        if count == 0:
            raise DocumentNotFound(self.name, write.id)
