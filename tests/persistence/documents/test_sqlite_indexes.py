"""Indexes in SQLite files that other programs made, and the deletion of expired documents."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from persistence.documents import Index
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import UniqueViolation
from persistence.testing.models import Job, Person

pytestmark = pytest.mark.anyio


async def test_indexes_of_an_earlier_version_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE "people" (id NOT NULL PRIMARY KEY, doc TEXT NOT NULL)')
        value = """json_extract(doc,'$."email"')"""
        connection.execute(f'CREATE UNIQUE INDEX "people__email_unique" ON "people" (ifnull({value},\'$\'))')
        connection.execute(f'CREATE INDEX "people__email_unique_order" ON "people" ({value},id)')
        connection.execute('CREATE INDEX "by hand" ON "people" (doc)')
    connection.close()
    async with SqliteDaoFactory(path) as factory:
        dao = await factory.dao("people", Person, id_field="id", indexes=[Index("email", unique=True)])
        await dao.insert(Person("1"))
        with pytest.raises(UniqueViolation) as caught:
            await dao.insert(Person("2"))
    assert caught.value.fields == ("email",)
    with sqlite3.connect(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    connection.close()
    assert names == {"people", "people/email_unique", "people/email_unique/order", "by hand"}


async def test_another_process_knows_the_fields_of_an_index(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    index = Index(("name", "-age"), unique=True, where={"name": "*/ it's"}, name="theirs")
    async with SqliteDaoFactory(path) as factory:
        await factory.dao("people", Person, id_field="id", indexes=[index])
    async with SqliteDaoFactory(path) as factory:
        dao = await factory.dao("people", Person, id_field="id")
        await dao.insert(Person("1", "*/ it's"))
        with pytest.raises(UniqueViolation) as caught:
            await dao.insert(Person("2", "*/ it's"))
    assert caught.value.fields == ("name", "age")


@pytest.mark.parametrize("write", ["insert", "upsert", "insert_many"])
async def test_an_insert_deletes_what_has_expired_and_makes_room_for_it(write: str, tmp_path: Path) -> None:
    async with SqliteDaoFactory(tmp_path / "documents.db") as factory:
        indexes = [Index("due", expire_after=10), Index("owner", unique=True, sparse=True)]
        dao = await factory.dao("jobs", Job, id_field="id", indexes=indexes)
        past = datetime.now(UTC) - timedelta(seconds=11)
        await dao.insert(Job(1, owner="me", due=past))
        job = Job(2, owner="me")
        if write == "insert_many":
            assert await dao.insert_many([job]) == {}
        else:
            await getattr(dao, write)(job)
        assert [found async for found in dao.find_all()] == [job]
