"""A stand with files that can be downloaded, and all who may fetch them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.data import check, sha256_of
from benchmarks.peers import program
from benchmarks.process import Command, Failed, Server, Usage, run
from benchmarks.servers.archive import Archive
from benchmarks.servers.nginx import Nginx
from benchmarks.stand import ROOT, Curve, Stand, proxy
from persistence.testing.servers.processes import free_port

ENVELOPE = 124


class DownloadStand(Stand):
    """A stand with files that can be downloaded: archive, nginx with the staged objects, an access token."""

    def prepare(
        self,
        sizes: Sequence[int],
        *,
        tls: bool = False,
        limits: str = "",
        faults: Sequence[str] = (),
        front: int | None = None,
        make: Callable[[Path, int], str] | None = None,
    ) -> DownloadStand:
        """Stock the archive with files of these sizes. ``limits`` are nginx's, ``faults`` the options of a
        proxy in front of everything, ``front`` is the port of a line that the caller puts there, ``make`` makes the
        sources."""
        sources = [self.source(f"file-{number:05}.bin", size, make) for number, size in enumerate(sizes)]
        self.plain = {path.name: digest for path, digest in sources}
        certificate = self.certificate() if tls else None
        nginx_port, proxy_port = free_port(), front or free_port()
        self.entrance = proxy_port if faults or front else nginx_port
        public = f"{'https' if tls else 'http'}://127.0.0.1:{self.entrance}"
        self.archive = Archive(self.folder / "archive", public_url=public, options=("--url-lifetime", "3600"))
        self.nginx = Nginx(
            self.folder, port=nginx_port, archive_port=self.archive.port, certificate=certificate, limits=limits
        )
        self.stack.enter_context(self.archive)
        self.stack.enter_context(self.nginx)
        self.proxy: Server | None = None
        if faults:
            self.proxy = self.stack.enter_context(proxy(self.folder / "proxy.log", proxy_port, nginx_port, *faults))
        stocking: Command = [sys.executable, "-m", "benchmarks.servers.stocking", self.archive.root, self.nginx.served]
        said = run([*stocking, *(path for path, _ in sources)], cwd=ROOT)
        self.objects = {str(file["object_id"]): str(file["sha256"]) for file in json.loads(said.output)}
        self.put_away(self.folder / "sources")
        self.token = self.archive.grant_download(self.keys)
        return self

    @property
    def object_id(self) -> str:
        """The one object, of a stand with one file."""
        (only,) = self.objects
        return only

    def check_encrypted(self, folder: Path) -> None:
        """Check that the folder holds all objects, each behind an envelope, and nothing else; empty it."""
        found = sorted(sha256_of(path, skip=ENVELOPE) for path in folder.iterdir())
        if found != sorted(self.objects.values()):
            raise Failed(f"{folder} holds {len(found)} files that are not the {len(self.objects)} staged objects")
        self.put_away(folder)

    def check_decrypted(self, folder: Path) -> None:
        """Check that the folder holds the plaintext of all files, beside what is still encrypted; empty it."""
        found = sorted(sha256_of(path) for path in folder.iterdir() if path.suffix != ".c4gh")
        if found != sorted(self.plain.values()):
            raise Failed(f"{folder} does not hold the {len(self.plain)} files that were uploaded")
        self.put_away(folder)

    def server_cpu(self) -> float:
        """Seconds of processor that archive, nginx and the proxy, if any, have taken so far."""
        way = self.proxy.cpu_seconds() if self.proxy else 0.0
        return self.archive.server.cpu_seconds() + self.nginx.server.cpu_seconds() + way

    # Contestants ----------------------------------------------------------------------------------------------------

    def download_with_ours(self, *arguments: str, written: Curve | None = None) -> tuple[Usage, float]:
        out, before = self.empty("out"), self.server_cpu()
        words: Command = ["--output-dir", out, *arguments]
        usage = self.ours("download", self.archive.wkvs_url, self.token, *words, written=written)
        spent = self.server_cpu() - before
        (self.check_decrypted if "--decrypt" in arguments else self.check_encrypted)(out)
        return usage, spent

    def download_with_peer(self, *, decrypt: bool = False) -> tuple[Usage, float]:
        out, before = self.empty("out"), self.server_cpu()
        usage = self.peer("download", self.archive.wkvs_url, self.token, "--output-dir", out)
        spent = self.server_cpu() - before
        if not decrypt:
            self.check_encrypted(out)
            return usage, spent
        command: Command = [
            program("ghga-connector"),
            "decrypt",
            "--input-dir",
            out,
            "--my-private-key-path",
            self.keys.private,
        ]
        usage += run(command)
        self.check_decrypted(out)
        return usage, spent

    def fetch_url(self, *words: str | Path) -> tuple[Usage, float]:
        """Let a program fetch the one object to ``out/object``; ``{url}`` and ``{out}`` in its words are filled in."""
        out, before = self.empty("out"), self.server_cpu()
        url = self.nginx.url_of(self.object_id).replace(f":{self.nginx.port}/", f":{self.entrance}/")
        filled = [str(word).format(url=url, out=out, file=out / "object") for word in words]
        usage = run(filled, cwd=ROOT)
        spent = self.server_cpu() - before
        check(out / "object", self.objects[self.object_id])
        return usage, spent

    def fetch_with_curl(self) -> tuple[Usage, float]:
        trust: Command = ["--cacert", self.ca_file] if self.ca_file is not None else []
        return self.fetch_url(program("curl"), "-sS", *trust, "-o", "{file}", "{url}")

    def fetch_with_aria2c(self, connections: int = 4) -> tuple[Usage, float]:
        options = [
            "-q",
            f"-x{connections}",
            f"-s{connections}",
            "-k16M",
            "--file-allocation=none",
            "-d",
            "{out}",
            "-o",
            "object",
        ]
        return self.fetch_url(program("aria2c"), *options, "{url}")

    def fetch_with_rclone(self) -> tuple[Usage, float]:
        options = ["--config", os.devnull, "--multi-thread-streams", "4", "-q"]
        return self.fetch_url(program("rclone"), "copyurl", *options, "{url}", "{file}")
