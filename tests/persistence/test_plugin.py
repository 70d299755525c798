"""The fixtures with real servers, and the helpers that fill, empty and delete what is on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.mongodb import MongoDaoFactory, MongoSettings
from persistence.errors import BucketNotFound, DocumentExists
from persistence.objects.memory import MemoryStorage
from persistence.objects.s3 import S3Storage
from persistence.testing.contents import (
    bucket_contents,
    delete_buckets,
    empty_buckets,
    empty_collection,
    populate_buckets,
    populate_collection,
)
from persistence.testing.models import Job, NewPerson, Person
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import bucket_names, settings_of

ROOT = Path(__file__).parents[2]
TESTS = """
pytest_plugins = ["persistence.testing.plugin"]

def test_mongodb(mongodb): pass
def test_databases(mongodb_databases): pass
def test_s3(s3): pass
"""


def run_pytest(folder: Path, tests: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(tests)
    names = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:persistence", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**names, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_failed_assertions_of_the_suites_are_explained() -> None:
    loader = sys.modules["persistence.testing.dao_cases.writes"].__loader__
    assert type(loader).__name__ == "AssertionRewritingHook"


@pytest.fixture
def no_servers(tmp_path: Path) -> str:
    """A folder to import from in which no server can be found."""
    patch = (
        "import persistence.testing.servers as s\n"
        "def find(*a): return None\n"
        "def runs(): return False\n"
        "import persistence.testing.servers.mongod as m, persistence.testing.servers.juicefs as j\n"
        "import persistence.testing.servers.containers as c\n"
        "m.find_program = j.find_program = find\n"
        "c.docker_runs = runs\n"
    )
    (tmp_path / "without_servers.py").write_text(patch)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import without_servers\n{TESTS}"


def test_a_missing_server_is_skipped_with_a_warning(tmp_path: Path, no_servers: str) -> None:
    done = run_pytest(tmp_path, no_servers)
    assert done.returncode == 0, done.stdout
    assert "3 skipped" in done.stdout
    assert "No MongoDB server" in done.stdout
    assert "PytestWarning: No S3 server" in done.stdout


def test_in_continuous_integration_it_is_a_failure(tmp_path: Path, no_servers: str) -> None:
    done = run_pytest(tmp_path, no_servers, CI="true")
    assert done.returncode == 1, done.stdout
    assert "3 errors" in done.stdout
    assert "skipped" not in done.stdout


def test_the_plugin_is_opt_in(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "def test_it(mongodb): pass")
    assert "fixture 'mongodb' not found" in done.stdout


def test_the_page_tells_how_to_test_a_provider(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "persistence.md").read_text(encoding="utf-8")
    (tests,) = (block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "my_provider" in block)
    (tmp_path / "my_provider.py").write_text(
        "from persistence.documents.memory import MemoryDaoFactory as MyDaoFactory\n"
        "from persistence.objects.memory import MemoryStorage as MyStorage\n"
    )
    two = "a_url_expires or a_class_that_is_no_model"
    done = run_pytest(tmp_path, tests, PYTEST_ADDOPTS=f"-k '{two}'", PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert " 4 passed" in done.stdout, done.stdout


def test_workers_do_not_share_a_server_whose_data_they_delete(tmp_path: Path) -> None:
    uri = "mongodb://127.0.0.1:1/"
    done = run_pytest(tmp_path, TESTS, PERSISTENCE_TEST_MONGODB_URI=uri, PYTEST_XDIST_WORKER="gw0")
    assert "all workers" in done.stdout


@pytest.mark.anyio
async def test_buckets_are_filled_emptied_and_deleted() -> None:
    contents = {"one": {"a": b"A", "b.c": b"", "d": b"x" * 100_000}, "two": {}}
    async with MemoryStorage() as storage:
        await populate_buckets(storage, contents)
        await populate_buckets(storage, {"one": {"a": b"AA"}})
        await storage.start_upload("one", "open")
        assert await bucket_contents(storage, "one") == {**contents["one"], "a": b"AA"}
        await empty_buckets(storage, "one")
        assert await bucket_contents(storage, "one") == {}
        assert await storage.list_uploads("one") == []
        await populate_buckets(storage, {"one": {"a": b"A"}})
        await delete_buckets(storage, "one", "two", "missing")
        with pytest.raises(BucketNotFound):
            await bucket_contents(storage, "one")


@pytest.mark.anyio
async def test_collections_are_filled_and_emptied() -> None:
    async with MemoryDaoFactory() as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await populate_collection(jobs, [Job(1), Job(2)])
        with pytest.raises(DocumentExists):
            await populate_collection(jobs, [Job(2), Job(3)])
        assert await jobs.count() == 3
        await empty_collection(jobs)
        assert await jobs.count() == 0
        people = await factory.surrogate_dao("people", Person, creation_model=NewPerson, id_field="id")
        await people.insert(NewPerson("Ada"))
        await empty_collection(people)
        assert await people.count() == 0


@pytest.mark.anyio
@pytest.mark.slow
async def test_two_databases_have_nothing_in_common(mongodb_databases: Callable[[], MongoSettings]) -> None:
    one, two = mongodb_databases(), mongodb_databases()
    async with MongoDaoFactory(one.uri, one.database) as first, MongoDaoFactory(two.uri, two.database) as second:
        jobs = await first.dao("jobs", Job, id_field="id"), await second.dao("jobs", Job, id_field="id")
        await populate_collection(jobs[0], [Job(1)])
        assert [await dao.count() for dao in jobs] == [1, 0]


@pytest.mark.anyio
@pytest.mark.slow
async def test_two_endpoints_have_nothing_in_common(s3_endpoints: Callable[[str], S3Endpoint]) -> None:
    one, two = s3_endpoints("one"), s3_endpoints("two")
    assert s3_endpoints("one") == one
    async with S3Storage(settings_of(one)) as first, S3Storage(settings_of(two)) as second:
        await populate_buckets(first, {"bucket": {"object": b"1"}})
        assert await second.list_buckets() == []
        await populate_buckets(second, {"bucket": {"object": b"2"}})
        assert await bucket_contents(first, "bucket") == {"object": b"1"}


@pytest.mark.slow
def test_then_they_are_empty_again(s3_endpoints: Callable[[str], S3Endpoint], mongodb_server: str) -> None:
    from pymongo import MongoClient

    assert [bucket_names(s3_endpoints(alias)) for alias in ("one", "two")] == [set(), set()]
    client: MongoClient[dict[str, object]]
    with MongoClient(mongodb_server) as client:
        assert not [name for name in client.list_database_names() if name.startswith("test_")]
