"""nginx in front of an archive: it serves the staged objects from files, writes the parts of uploads to files, and
passes everything else on."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.peers import program
from benchmarks.process import Server

_CONFIG = """
{user}
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  log_format short '$status $bytes_sent $request_time $uri';
  access_log {folder}/access.log short buffer=64k flush=1s;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nodelay on;
  keepalive_requests 1000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_conn_zone $server_name zone=crowd:1m;
  upstream archive {{ server 127.0.0.1:{archive_port}; keepalive 64; }}
  {servers}
}}
"""

_SERVER = """
  server {{
    listen 127.0.0.1:{port}{tls};
    server_name bench{port};
    {certificate}
    location /storage/download/ {{
      root {folder}/served;
      default_type application/octet-stream;
      {limits}
      try_files $uri @archive;
    }}
    location /parts/ {{
      client_body_in_file_only on;
      client_body_buffer_size 1m;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Body-File $request_body_file;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_http_version 1.1;
      proxy_pass http://archive;
    }}
    location / {{ try_files /nonexistent @archive; }}
    location @archive {{
      proxy_pass http://archive;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
"""


class Nginx:
    """Listens on ``port``; ``certificate`` (a PEM file with key and chain) makes it speak TLS.

    ``limits`` are directives for the location of the objects, such as ``limit_rate 10m;``.
    """

    def __init__(
        self, folder: Path, *, port: int, archive_port: int, certificate: Path | None = None, limits: str = ""
    ) -> None:
        self.folder = folder
        self.port = port
        self.served = folder / "served" / "storage" / "download"
        self.served.mkdir(parents=True, exist_ok=True)
        shown = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};" if certificate else ""
        server = _SERVER.format(
            port=port, tls=" ssl" if certificate else "", certificate=shown, folder=folder, limits=limits
        )
        user = "user root;" if os.geteuid() == 0 else ""
        self._config = folder / "nginx.conf"
        self._config.write_text(_CONFIG.format(user=user, folder=folder, archive_port=archive_port, servers=server))
        self.scheme = "https" if certificate else "http"
        self._server: Server | None = None

    def __enter__(self) -> Nginx:
        self._server = Server(
            [program("nginx"), "-e", self.folder / "error.log", "-c", self._config], log=self.folder / "nginx.out"
        )
        self._server.wait_for_port(self.port)
        return self

    def __exit__(self, *details: object) -> None:
        self.server.__exit__(*details)

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    def url_of(self, object_id: str) -> str:
        """Where an object can be fetched without a signature."""
        return f"{self.scheme}://127.0.0.1:{self.port}/storage/download/{object_id}"

    def answers(self) -> list[tuple[int, int]]:
        """Status and bytes of all answers about objects so far; those of the last second may be missing."""
        lines = (line.split() for line in (self.folder / "access.log").read_text().splitlines())
        return [(int(words[0]), int(words[1])) for words in lines if words[3].startswith("/storage/download/")]
