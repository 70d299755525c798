"""Queries lead through indexes, so that paging stays flat in depth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from persistence.documents import Index
from persistence.documents.collection import Query
from persistence.documents.query import And, keyset, parse_sort
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.documents.sqlite.collection import SqliteCollection
from persistence.testing.models import Person

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("sort", [["age"], ["-age"], ["name", "age"], []])
async def test_a_continued_page_is_found_by_an_index(sort: list[str], tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    async with SqliteDaoFactory(path) as factory:
        dao = await factory.dao("people", Person, id_field="id", indexes=[Index("age"), Index(("name", "age"))])
        await dao.insert_many([Person(str(number), age=number) for number in range(50)])
        collection = dao.collection
        assert isinstance(collection, SqliteCollection)
        order = parse_sort(sort, "id")
        values = tuple({"age": 7, "name": "Ada", "id": "7"}[field] for field, _ in order)
        stretches = keyset(order, values)
        connection = sqlite3.connect(path)
        for term in stretches:
            sql, parameters = collection._select(term, Query(And(), order), 10, 0)
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
            # A search begins at its place in the index, and needs no sorting afterwards.
            assert "SEARCH people USING" in plan, plan
            if sort != ["-age"]:
                assert "TEMP B-TREE" not in plan, plan
        connection.close()
