"""No deadline per example: a busy machine is no failure. No test leaves anything in the user's own state folder.

Signals have their usual meaning, also where pytest itself was started by nohup or in the background of a script, which
ignore some: the programs that tests start would inherit that.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from persistence.testing.servers import S3Endpoint
    from tests.support.archive_cluster import ArchiveCluster
    from tests.support.served_archive import MakeArchive, ServedArchive

# Before the plugin is imported, which imports the suites.
pytest.register_assert_rewrite("persistence.testing")
pytest_plugins = ["persistence.testing.plugin"]

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

for _number in (signal.SIGINT, getattr(signal, "SIGHUP", None), getattr(signal, "SIGQUIT", None)):
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def make_cluster(
    mongodb_replica_set: str, s3_server: S3Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[ArchiveCluster]]:
    """Runs archives of several processes, all on one replica set of three members and one S3 server."""
    from functools import partial

    from persistence.testing.servers.processes import ServerFailed
    from tests.support.archive_cluster import archive_cluster
    from tests.support.nginx import find_nginx

    try:
        find_nginx()
    except ServerFailed as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))

    def make(**options: Any) -> AbstractContextManager[ArchiveCluster]:
        folder = tmp_path_factory.mktemp("cluster")
        return partial(archive_cluster, folder, uri=mongodb_replica_set, s3=s3_server)(**options)

    return make


@pytest.fixture(scope="session")
def cluster(make_cluster: Callable[..., AbstractContextManager[ArchiveCluster]]) -> Iterator[ArchiveCluster]:
    """An archive of two serving processes behind nginx and two workers, for the whole session."""
    with make_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def make_archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeArchive:
    """Runs archives of either set-up with settings of ``archive.toml``: ``make_archive("cluster", open_uploads=1)``.

    ``embedded`` is one command on SQLite and files; ``cluster`` is two serving processes behind nginx and two workers,
    on MongoDB and S3.
    """
    from tests.support.archive_process import served_archive

    def make(set_up: str, **settings: float) -> AbstractContextManager[ServedArchive]:
        if set_up == "cluster":
            make_cluster = request.getfixturevalue("make_cluster")
            lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
            return make_cluster(settings=lines)  # type: ignore[no-any-return]
        options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return served_archive(tmp_path_factory.mktemp("embedded") / "archive", *options)

    return make
