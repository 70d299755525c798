"""Servers in containers, through testcontainers (an optional package), where Docker runs."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Final

from persistence.testing.servers.endpoints import S3Endpoint
from persistence.testing.servers.processes import ServerFailed

MONGODB_IMAGE: Final = "mongo:7"
S3_IMAGE: Final = "quay.io/minio/minio:RELEASE.2025-04-22T22-12-26Z"


def docker_runs() -> bool:
    """Whether testcontainers is installed and a Docker daemon answers."""
    if importlib.util.find_spec("testcontainers") is None or shutil.which("docker") is None:
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@contextlib.contextmanager
def run_mongodb_container() -> Iterator[str]:
    """Run MongoDB as a replica set of one member and return its URI.

    Raises:
        ServerFailed: no primary was elected within 60 s.
    """
    from pymongo import MongoClient
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(MONGODB_IMAGE).with_command("--replSet rs0 --bind_ip_all").with_exposed_ports(27017)
    with container:
        host, port = container.get_container_host_ip(), int(container.get_exposed_port(27017))
        uri = f"mongodb://{host}:{port}/?directConnection=true"
        client: MongoClient[dict[str, Any]] = MongoClient(uri)
        members = [{"_id": 0, "host": "127.0.0.1:27017"}]
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        until = time.monotonic() + 60
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() > until:
                raise ServerFailed("The MongoDB container did not become primary.")
            time.sleep(0.1)
        client.close()
        yield uri


@contextlib.contextmanager
def run_s3_container() -> Iterator[S3Endpoint]:
    """Run MinIO and return its endpoint."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    key, secret = "testkey", "testsecret123"
    container = DockerContainer(S3_IMAGE).with_command("server /data").with_exposed_ports(9000)
    container = container.with_env("MINIO_ROOT_USER", key).with_env("MINIO_ROOT_PASSWORD", secret)
    with container:
        wait_for_logs(container, "API")
        host, port = container.get_container_host_ip(), container.get_exposed_port(9000)
        yield S3Endpoint(f"http://{host}:{port}", key, secret, frozenset(("no-tenants",)))
