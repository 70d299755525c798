"""Processes that start before their database does, as when containers are started together."""

from __future__ import annotations

import secrets
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pymongo
import pytest

from persistence.testing.servers.processes import free_ports
from tests.support.served_archive import end, read_url, start
from tests.support.stopping_proxy import StoppingProxy

CONFIG = """
[documents]
provider = "mongodb"
uri = "mongodb://127.0.0.1:{port}/?directConnection=true"
database = "{database}"
deadline = 1.0
[[hubs]]
alias = "HD01"
storage = {{ provider = "filesystem", path = "objects" }}
"""


@pytest.fixture
def database(mongodb_server: str) -> str:
    return f"test_{secrets.token_hex(8)}"


def until_it_waits(log: Path) -> None:
    deadline = time.monotonic() + 180
    while "tried again" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_database_that_is_not_there_yet_is_waited_for(tmp_path: Path, mongodb_server: str, database: str) -> None:
    port, file = free_ports(2), tmp_path / "archive.toml"
    file.write_text(CONFIG.format(port=port, database=database))
    log, second = file.with_suffix(".log"), file.with_suffix(".second")
    with ExitStack() as stack, pymongo.MongoClient[dict[str, object]](mongodb_server) as client:
        server = start("serve", log, "--config", file, "--port", str(port + 1))
        stack.callback(end, server, log)
        worker = start("work", second, "--config", file)
        stack.callback(end, worker, second)
        for each in (log, second):
            until_it_waits(each)
            assert "database" in each.read_text()
        # What is in front of it asks another server meanwhile.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port + 1))
        # Neither is a process held up by that which is to end.
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
        client.admin.command("ping")
        assert client.primary is not None
        stack.enter_context(StoppingProxy(client.primary, port=port).running())
        assert read_url(server, log)
        socket.create_connection(("127.0.0.1", port + 1)).close()
        client.drop_database(database)


def test_it_is_not_waited_for_longer_than_that(tmp_path: Path) -> None:
    file = tmp_path / "archive.toml"
    file.write_text(CONFIG.format(port=free_ports(1), database="none"))
    log, began = file.with_suffix(".log"), time.monotonic()
    process = start("work", log, "--config", file, "--start-timeout", "1.5")
    try:
        assert process.wait(timeout=180) == 5
    finally:
        end(process, log)
    assert time.monotonic() - began > 1.5
