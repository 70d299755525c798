"""What a scenario stands on: keys, sources, an archive that holds them, nginx in front, and the contestants' commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.data import Keys, check, make_random_file, sha256_of
from benchmarks.peers import ours, program
from benchmarks.process import Failed, Server, Usage, free_port, run
from benchmarks.servers.archive import Archive
from benchmarks.servers.nginx import Nginx

ENVELOPE = 124


@dataclass(frozen=True)
class Options:
    """What the command line chose: bytes, rounds, and where everything is written."""

    size: int
    rounds: int
    folder: Path
    large: bool = False
    files: int = 200
    file_size: int = 256 << 10


@dataclass
class Stand:
    """A folder of its own below the options' folder; everything in it goes with the ``with`` block."""

    options: Options
    name: str
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Stand:
        self.folder = self.options.folder / self.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.keys = Keys(self.folder)
        self.ca_file: Path | None = None
        return self

    def __exit__(self, *details: object) -> None:
        self.stack.close()

    def source(self, name: str, size: int) -> tuple[Path, str]:
        """A random file and its sha256."""
        path = self.folder / "sources" / name
        path.parent.mkdir(exist_ok=True)
        return path, make_random_file(path, size)

    def certificate(self) -> Path:
        """A certificate for 127.0.0.1 with its key; sets ``ca_file`` to the authority that made it."""
        folder = self.folder / "tls"
        folder.mkdir(exist_ok=True)
        run([sys.executable, "-m", "trustme", "-q", "-i", "127.0.0.1", "localhost", "-d", folder])
        both = folder / "both.pem"
        both.write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
        self.ca_file = folder / "client.pem"
        return both

    def empty(self, name: str) -> Path:
        """An empty folder, whatever was in it before."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    # Commands -------------------------------------------------------------------------------------------------------

    def ours(self, command: str, wkvs_url: str, token: str, *arguments: str | Path, **more: str) -> Usage:
        """Run ``connector download`` or ``connector upload``."""
        token_file = self.folder / "token"
        token_file.write_text(token)
        words = [ours(), command, "--wkvs-url", wkvs_url, "--token-file", token_file, "--quiet", *arguments]
        words += ["--my-private-key-path", self.keys.private, "--my-public-key-path", self.keys.public]
        if self.ca_file is not None:
            words += ["--ca-file", self.ca_file]
        return run(words, env=more)

    def peer(self, command: str, wkvs_url: str, token: str, *arguments: str | Path, part_size: int = 0) -> Usage:
        """Run ``ghga-connector download`` or ``batch-upload``; the token goes in where it asks for it."""
        env = {"GHGA_CONNECTOR_WKVS_API_URL": wkvs_url}
        if part_size:
            env["GHGA_CONNECTOR_PART_SIZE"] = str(part_size)
        words = [program("ghga-connector"), command, *arguments]
        words += ["--my-private-key-path", self.keys.private, "--my-public-key-path", self.keys.public]
        return run(words, env=env, stdin=token)

    def tsv(self, sources: Sequence[Path]) -> Path:
        """A list of files to upload, as both connectors read it."""
        path = self.folder / "files.tsv"
        path.write_text("".join(f"{source}\t{source.name}\n" for source in sources))
        return path


class DownloadStand(Stand):
    """A stand with files that can be downloaded: archive, nginx with the staged objects, and an access token."""

    def prepare(
        self, sizes: Sequence[int], *, tls: bool = False, limits: str = "", delay: float = 0.0
    ) -> DownloadStand:
        """Upload files of these sizes, let the archive take them in, stage them. ``delay``: seconds, added to every
        request by a proxy in front of everything."""
        sources = [self.source(f"file-{number:05}.bin", size) for number, size in enumerate(sizes)]
        self.plain = {path.name: digest for path, digest in sources}
        certificate = self.certificate() if tls else None
        nginx_port, proxy_port = free_port(), free_port()
        public = f"{'https' if tls else 'http'}://127.0.0.1:{proxy_port if delay else nginx_port}"
        self.archive = Archive(self.folder / "archive", public_url=public, options=("--url-lifetime", "3600"))
        self.nginx = Nginx(
            self.folder, port=nginx_port, archive_port=self.archive.port, certificate=certificate, limits=limits
        )
        self.stack.enter_context(self.archive)
        self.stack.enter_context(self.nginx)
        if delay:
            self.stack.enter_context(slow_proxy(self.folder / "proxy.log", proxy_port, nginx_port, delay))
        token = self.archive.grant_upload(self.keys)
        self.ours("upload", self.archive.wkvs_url, token, "--tsv", self.tsv([path for path, _ in sources]))
        self.accessions = self.archive.wait_until_archived(self.plain)
        for path, _ in sources:
            path.unlink()
        self.token = self.archive.grant_download(self.keys)
        self.ours("download", self.archive.wkvs_url, self.token, "--output-dir", self.empty("first"))
        shutil.rmtree(self.folder / "first")
        command = [sys.executable, "-m", "benchmarks.contestants.export_staged"]
        run([*command, self.archive.root, self.nginx.served], cwd=Path(__file__).resolve().parent.parent)
        self.objects = {path.name: sha256_of(path) for path in sorted(self.nginx.served.iterdir())}
        if len(self.objects) != len(sizes):
            raise Failed(f"{len(self.objects)} of {len(sizes)} objects were staged")
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
        shutil.rmtree(folder)

    def check_decrypted(self, folder: Path) -> None:
        """Check that the folder holds the plaintext of all files, beside what is still encrypted; empty it."""
        found = sorted(sha256_of(path) for path in folder.iterdir() if path.suffix != ".c4gh")
        if found != sorted(self.plain.values()):
            raise Failed(f"{folder} does not hold the {len(self.plain)} files that were uploaded")
        shutil.rmtree(folder)

    def server_cpu(self) -> float:
        """Seconds of processor that archive and nginx have taken so far."""
        return self.archive.server.cpu_seconds() + self.nginx.server.cpu_seconds()

    # Contestants ----------------------------------------------------------------------------------------------------

    def download_with_ours(self, *arguments: str) -> tuple[Usage, float]:
        out, before = self.empty("out"), self.server_cpu()
        usage = self.ours("download", self.archive.wkvs_url, self.token, "--output-dir", out, *arguments)
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
        command = [program("ghga-connector"), "decrypt", "--input-dir", out, "--my-private-key-path", self.keys.private]
        usage += run(command)
        self.check_decrypted(out)
        return usage, spent

    def fetch_url(self, *words: str | Path) -> tuple[Usage, float]:
        """Let a program fetch the one object to ``out/object``; ``{url}`` and ``{out}`` in its words are filled in."""
        out, before = self.empty("out"), self.server_cpu()
        url = self.nginx.url_of(self.object_id)
        filled = [str(word).format(url=url, out=out, file=out / "object") for word in words]
        usage = run(filled, cwd=Path(__file__).resolve().parent.parent)
        spent = self.server_cpu() - before
        check(out / "object", self.objects[self.object_id])
        return usage, spent

    def fetch_with_curl(self) -> tuple[Usage, float]:
        trust = ["--cacert", self.ca_file] if self.ca_file is not None else []
        return self.fetch_url(program("curl"), "-sS", *trust, "-o", "{file}", "{url}")

    def fetch_with_aria2c(self) -> tuple[Usage, float]:
        options = ["-q", "-x4", "-s4", "-k16M", "--file-allocation=none", "-d", "{out}", "-o", "object"]
        return self.fetch_url(program("aria2c"), *options, "{url}")

    def fetch_with_rclone(self) -> tuple[Usage, float]:
        options = ["--config", os.devnull, "--multi-thread-streams", "4", "-q"]
        return self.fetch_url(program("rclone"), "copyurl", *options, "{url}", "{file}")

    def copy_on_disk(self) -> tuple[Usage, float]:
        source = self.nginx.served / self.object_id
        return self.fetch_url("dd", f"if={source}", "of={file}", "bs=4M", "status=none")

    def fetch_in_parts(self, transport: str) -> tuple[Usage, float]:
        """The transport alone, by a program of a few lines: four ranged GETs at a time, written at their place."""
        trust = ["--ca-file", self.ca_file] if self.ca_file is not None else []
        script = [sys.executable, "-m", "benchmarks.contestants.fetch_in_parts", "--transport", transport]
        return self.fetch_url(*script, *trust, "{url}", "{file}")


class UploadStand(Stand):
    """A stand with one folder of sources and, for every run, an archive of its own."""

    def prepare(self, sizes: Sequence[int], *, delay: float = 0.0, tls: bool | None = None) -> UploadStand:
        """Make sources of these sizes. ``delay`` as for downloads; ``tls``: whether to go through nginx, and how."""
        made = [self.source(f"file-{number:05}.bin", size) for number, size in enumerate(sizes)]
        self.sources = [path for path, _ in made]
        self.plain = {path.name: digest for path, digest in made}
        self.delay = delay
        self.tls = tls
        self.pem = self.certificate() if tls else None
        return self

    def upload_with_ours(self, *arguments: str) -> tuple[Usage, float]:
        return self._upload("ours", *arguments)

    def upload_with_peer(self, part_size: int = 0) -> tuple[Usage, float]:
        return self._upload("peer", part_size=part_size)

    def _upload(self, who: str, *arguments: str, part_size: int = 0) -> tuple[Usage, float]:
        front = free_port()
        root = self.folder / "archive"
        public = None
        if self.delay or self.tls is not None:
            public = f"{'https' if self.tls else 'http'}://127.0.0.1:{front}"
        archive = Archive(root, public_url=public)
        with contextlib.ExitStack() as stack:
            stack.callback(archive.remove)
            stack.enter_context(archive)
            if self.delay:
                stack.enter_context(slow_proxy(self.folder / "proxy.log", front, archive.port, self.delay))
            elif self.tls is not None:
                stack.enter_context(Nginx(self.folder, port=front, archive_port=archive.port, certificate=self.pem))
            token = archive.grant_upload(self.keys)
            before = archive.server.cpu_seconds()
            if who == "ours":
                usage = self.ours("upload", archive.wkvs_url, token, "--tsv", self.tsv(self.sources), *arguments)
            else:
                tsv = self.tsv(self.sources)
                usage = self.peer("batch-upload", archive.wkvs_url, token, "--tsv", tsv, part_size=part_size)
            spent = archive.server.cpu_seconds() - before
            archive.wait_until_archived(self.plain)
        return usage, spent


def slow_proxy(log: Path, port: int, upstream: int, delay: float) -> Server:
    """A proxy that holds every request for ``delay`` seconds."""
    command = [sys.executable, "-m", "tests.support.fault_proxy", "--upstream", f"127.0.0.1:{upstream}"]
    root = str(Path(__file__).resolve().parent.parent)
    server = Server([*command, "--port", str(port), "--delay", str(delay)], log=log, env={"PYTHONPATH": root})
    server.wait_for_port(port)
    return server
