"""nginx as archives have it in front of their processes: it gives each request to the next one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from persistence.testing.servers.processes import ServerFailed, accepts, running, wait_until

PACKAGE = "nginx-light"
_CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream archive {{ {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://archive;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


def find_nginx() -> str:
    """The path of the program; ``ServerFailed`` if it is not installed."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise ServerFailed(f"There is no nginx; install {PACKAGE}.")
    return found


@contextmanager
def run_nginx(folder: Path, port: int, upstreams: Sequence[int]) -> Iterator[None]:
    """Listen on a port of this machine and pass requests on to these other ones, in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    # A process that died is tried again at once: who restarts it counts on that.
    servers = " ".join(f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in upstreams)
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(user=user, folder=folder, port=port, servers=servers))
    log = folder / "error.log"
    with running([find_nginx(), "-e", str(log), "-c", str(config)], folder / "nginx.out") as process:
        wait_until(lambda: accepts(port), process, log, 20)
        yield
