"""The embedded archive as a process, administered by its own command line, alone or with nginx for its bytes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import Keys
from benchmarks.peers import ours
from benchmarks.process import Command, Failed, Server, run
from benchmarks.servers.nginx import Nginx
from persistence.testing.servers.processes import free_port

ROOT = Path(__file__).resolve().parents[2]


class Archive:
    """An archive below ``root``, serving as long as the ``with`` block lasts.

    ``public_url`` is where clients reach it when something stands in front of it; ``port`` is its own.
    """

    _env: ClassVar[Mapping[str, str]] = {}

    def __init__(self, root: Path, *, public_url: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.root = root
        self.port = free_port()
        self.url = public_url or f"http://127.0.0.1:{self.port}"
        self._options = options
        self._server: Server | None = None

    def __enter__(self) -> Archive:
        self._server = Server(self._command(), log=self.root.with_suffix(".log"), env=self._env)
        try:
            self._server.wait_for_line("Archive ready at ")
        except BaseException:
            self._server.__exit__()
            raise
        return self

    def _command(self) -> Command:
        public = ["--public-url", self.url] if self.url != f"http://127.0.0.1:{self.port}" else []
        return [
            *(ours(), "archive", "serve", "--root", self.root, "--port", str(self.port)),
            *("--retry-after", "1", *public, *self._options),
        ]

    def __exit__(self, *details: object) -> None:
        self.server.__exit__(*details)

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    @property
    def entrance(self) -> int:
        """The port to which a proxy in front of it all sends what it takes."""
        return self.port

    @property
    def wkvs_url(self) -> str:
        """Where clients find the well-known values."""
        return f"{self.url}/.well-known"

    def grant_upload(self, keys: Keys) -> str:
        """Open a box; returns the access token."""
        return _last_line(run([ours(), "archive", "grant", "upload", "--root", self.root, "--public-key", keys.public]))

    def grant_download(self, keys: Keys, *accessions: str) -> str:
        """Grant files, all of them by default; returns the access token."""
        which = accessions or ("--all",)
        command: Command = [
            ours(),
            "archive",
            "grant",
            "download",
            "--root",
            self.root,
            "--public-key",
            keys.public,
            *which,
        ]
        return _last_line(run(command))

    def files(self) -> list[dict[str, Any]]:
        """All files, also those that are not registered yet."""
        said = run([ours(), "archive", "files", "--uploads", "--json", "--root", self.root])
        return list(json.loads(said.output))

    def wait_until_archived(self, expected: dict[str, str], *, seconds: float = 300.0) -> dict[str, str]:
        """Wait until the archive has decrypted, checked and registered all files of ``expected`` (alias to sha256).

        Returns their accessions by alias. Raises :class:`Failed` for a file that failed or has another sha256.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            files = {file["alias"]: file for file in self.files() if file["alias"] in expected}
            failed = [file for file in files.values() if file["state"] in ("failed", "cancelled")]
            if failed:
                raise Failed(f"the archive refused an upload: {failed[0]}")
            if len(files) == len(expected) and all(file["state"] == "archived" for file in files.values()):
                wrong = [alias for alias, file in files.items() if file["sha256"] != expected[alias]]
                if wrong:
                    raise Failed(f"the archive holds other bytes of {wrong[0]} than were sent")
                return {alias: str(file["accession"]) for alias, file in files.items()}
            time.sleep(0.3)
        raise Failed(f"the archive did not take in {len(expected)} files within {seconds:g} seconds")

    def cpu_seconds(self) -> float:
        """Processor time of all servers so far."""
        return self.server.cpu_seconds()

    def check_received(self, expected: dict[str, str]) -> None:
        """Raise :class:`Failed` unless all files of ``expected`` (alias to sha256) came in whole."""
        self.wait_until_archived(expected)


class ArchiveBesideNginx(Archive):
    """An archive whose uploads go through nginx, which writes their parts to the disk by itself.

    ``folder`` is nginx's; ``certificate`` makes it speak TLS. See :mod:`benchmarks.servers.archive_beside_nginx`.
    """

    _env: ClassVar[Mapping[str, str]] = {"PYTHONPATH": str(ROOT)}

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Path | None = None,
        public_url: str | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        front = free_port()
        own_url = f"{'https' if certificate else 'http'}://127.0.0.1:{front}"
        super().__init__(folder / "archive", public_url=public_url or own_url, options=options)
        self.nginx = Nginx(folder, port=front, archive_port=self.port, certificate=certificate)

    @property
    def entrance(self) -> int:
        return self.nginx.port

    def _command(self) -> Command:
        module = [sys.executable, "-m", "benchmarks.servers.archive_beside_nginx"]
        return [*module, self.root, "--port", str(self.port), "--public-url", self.url, *self._options]

    def __enter__(self) -> ArchiveBesideNginx:
        super().__enter__()
        try:
            self.nginx.__enter__()
        except BaseException:
            super().__exit__()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.nginx.__exit__(*details)
        super().__exit__(*details)

    def cpu_seconds(self) -> float:
        return super().cpu_seconds() + self.nginx.server.cpu_seconds()

    def check_received(self, expected: dict[str, str]) -> None:
        said = run([sys.executable, "-m", "benchmarks.servers.received", self.root], cwd=ROOT)
        found = json.loads(said.output)
        if found != expected:
            raise Failed(f"{found} came in instead of {expected}")


def _last_line(usage: Any) -> str:
    return str(usage.output.strip().splitlines()[-1]) + "\n"
