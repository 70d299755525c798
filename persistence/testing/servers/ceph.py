"""Ceph's radosgw on one monitor and one OSD in memory, as processes of Debian's packages."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import uuid
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
    wait_until,
)

PACKAGES: Final = ("ceph-mon", "ceph-osd", "radosgw", "ceph-common")
DIFFERENCES: Final = frozenset(("no-conditional-parts", "forms-name-the-tenant"))

_CONFIG: Final = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}/0
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {folder}/run
admin_socket = {run}/$name.asok
pid_file = {folder}/run/$name.pid
log_file = {folder}/log/$name.log
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
osd_heartbeat_grace = 120
mon_data_avail_warn = 2
mon_data_avail_crit = 1
ms_crc_data = false
debug_ms = 0
ms_mon_client_mode = crc
ms_cluster_mode = crc
ms_client_mode = crc
ms_service_mode = crc
ms_mon_cluster_mode = crc
ms_mon_service_mode = crc
[mon]
mon_data = {folder}/mon
mon_cluster_log_file = {folder}/log/cluster.log
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
mon_osd_min_up_ratio = 0
mon_osd_initial_require_min_compat_client = octopus
auth_allow_insecure_global_id_reclaim = true
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_memory_target = 1073741824
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_fast_shutdown = true
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_data = {folder}/rgw
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_dns_name =
rgw_s3_auth_use_keystone = false
rgw_enable_gc_threads = true
rgw_gc_max_objs = 4
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 5
"""


@contextlib.contextmanager
def run_ceph(folder: Path) -> Iterator[S3Endpoint]:
    """Run a monitor, an OSD and a gateway with all data below a folder; it takes some 10 s to start."""
    missing = [name for name in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph") if not find_program(name)]
    if missing:
        raise ServerFailed(f"There is no {', '.join(missing)}; install {' '.join(PACKAGES)}.")
    for name in ("mon", "osd", "run", "log", "rgw"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "keyring").touch()
    port = free_ports(2)
    fsid = str(uuid.uuid4())
    # The path of a socket may have no more than about 100 characters.
    sockets = Path(f"/tmp/ceph-{secrets.token_hex(4)}")
    sockets.mkdir()
    config = folder / "ceph.conf"
    config.write_text(_CONFIG.format(fsid=fsid, folder=folder, run=sockets, port=port, mon_port=port + 1))
    try:
        with contextlib.ExitStack() as stack:
            yield _start(stack, folder, config, fsid, port)
    finally:
        for socket in sockets.iterdir():
            socket.unlink()
        sockets.rmdir()


def _start(stack: contextlib.ExitStack, folder: Path, config: Path, fsid: str, port: int) -> S3Endpoint:
    log = folder / "log" / "start.log"
    options = ("-c", str(config))

    def do(*command: str) -> None:
        with open(log, "ab") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=120)
        if done.returncode:
            raise ServerFailed(f"{command!r} failed.\n{log.read_text(errors='replace')[-2000:]}")

    monitor = f"[v2:127.0.0.1:{port + 1}]"
    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, str(folder / "monmap"))
    do("ceph-mon", *options, "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"))
    mon = stack.enter_context(running(["ceph-mon", *options, "-i", "a", "-f"], log))
    wait_until(lambda: accepts(port + 1), mon, log, 60)
    osd_id = str(uuid.uuid4())
    do("ceph-osd", *options, "-i", "0", "--mkfs", "--osd-uuid", osd_id)
    do("ceph", *options, "osd", "new", osd_id, "0")
    do("ceph", *options, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
    stack.enter_context(running(["ceph-osd", *options, "-i", "0", "-f"], log))
    user = ("--tenant=suite", "--uid=test", "--display-name=test", "--access-key=testkey", "--secret-key=testsecret123")
    do("radosgw-admin", *options, "-n", "client.rgw", "user", "create", *user)
    gateway = stack.enter_context(running(["radosgw", *options, "-n", "client.rgw", "-f"], log))
    wait_until(lambda: accepts(port), gateway, log, 180)
    return S3Endpoint(f"http://127.0.0.1:{port}", "testkey", "testsecret123", DIFFERENCES)
