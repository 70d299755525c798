"""The embedded archive as a process, administered by its own command line."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.data import Keys
from benchmarks.peers import ours
from benchmarks.process import Failed, Server, free_port, run


class Archive:
    """An archive below ``root``, serving as long as the ``with`` block lasts.

    ``public_url`` is where clients reach it when something stands in front of it; ``port`` is its own.
    """

    def __init__(self, root: Path, *, public_url: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.root = root
        self.port = free_port()
        self.url = public_url or f"http://127.0.0.1:{self.port}"
        self._options = options
        self._server: Server | None = None

    def __enter__(self) -> Archive:
        command = [ours(), "archive", "serve", "--root", self.root, "--port", str(self.port), *self._options]
        if self.url != f"http://127.0.0.1:{self.port}":
            command += ["--public-url", self.url]
        self._server = Server(command, log=self.root.with_suffix(".log"))
        self._server.wait_for_line("Archive ready at ")
        return self

    def __exit__(self, *details: object) -> None:
        self.server.__exit__(*details)

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

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
        command = [ours(), "archive", "grant", "download", "--root", self.root, "--public-key", keys.public, *which]
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

    def remove(self) -> None:
        """Delete everything; for an archive that no longer serves."""
        shutil.rmtree(self.root, ignore_errors=True)


def _last_line(usage: Any) -> str:
    return str(usage.output.strip().splitlines()[-1]) + "\n"
