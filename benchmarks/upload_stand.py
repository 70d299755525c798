"""A stand with files to upload and, for every run, an archive of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from benchmarks.data import check
from benchmarks.peers import program
from benchmarks.process import Command, Server, Usage, run
from benchmarks.servers.archive import Archive, ArchiveBesideNginx
from benchmarks.servers.line import Conditions, Line
from benchmarks.stand import Stand, proxy
from persistence.testing.servers.processes import free_port

Receiver = Literal["nginx", "archive"]
"""Who takes the parts: nginx, which writes them to the disk; or the embedded archive as it is, in Python."""


class UploadStand(Stand):
    """A stand with one folder of sources and, for every run, an archive of its own."""

    def prepare(
        self,
        sizes: Sequence[int],
        *,
        faults: Sequence[str] = (),
        line: Conditions | None = None,
        tls: bool = False,
        open_uploads: int | None = None,
        make: Callable[[Path, int], str] | None = None,
    ) -> UploadStand:
        """Make sources of these sizes. ``faults`` as for downloads; ``line``: one in front of each archive, whose last
        statistics :attr:`line` has; ``tls``: of nginx; ``open_uploads``: how many the
        archive allows in its box, if not as many as usual."""
        made = [self.source(f"file-{number:05}.bin", size, make) for number, size in enumerate(sizes)]
        self.sources = [path for path, _ in made]
        self.plain = {path.name: digest for path, digest in made}
        self.faults = faults
        self.conditions = line
        self.line: Line | None = None
        self._archive_options: tuple[str, ...] = () if open_uploads is None else ("--open-uploads", str(open_uploads))
        self._proxy: Server | None = None
        self.pem = self.certificate() if tls else None
        return self

    def upload_with_ours(self, *arguments: str, receiver: Receiver = "nginx") -> tuple[Usage, float]:
        """By ``connector upload``, to ``receiver``."""

        def upload(archive: Archive, token: str) -> Usage:
            return self.ours("upload", archive.wkvs_url, token, "--tsv", self.tsv(self.sources), *arguments)

        return self._upload(receiver, upload)

    def upload_with_peer(self, part_size: int = 0) -> tuple[Usage, float]:
        """By ``ghga-connector batch-upload``, to nginx."""

        def upload(archive: Archive, token: str) -> Usage:
            tsv = self.tsv(self.sources)
            return self.peer("batch-upload", archive.wkvs_url, token, "--tsv", tsv, part_size=part_size)

        return self._upload("nginx", upload)

    def put_with_curl(self) -> tuple[Usage, float]:
        """The one source as it is, by ``curl -T`` in one request to the same nginx: what the way there allows."""
        (source,) = self.sources
        with self._archive("nginx") as archive:
            before = archive.cpu_seconds()
            trust: Command = ["--cacert", self.ca_file] if self.ca_file is not None else []
            usage = run([program("curl"), "-sSf", *trust, "-T", source, f"{archive.url}/parts/wire/1"])
            spent = archive.cpu_seconds() - before
            check(archive.root / "parts" / "wire" / "1", self.plain[source.name])
        return usage, spent

    def _upload(self, receiver: Receiver, upload: Callable[[Archive, str], Usage]) -> tuple[Usage, float]:
        with self._archive(receiver) as archive:
            token = archive.grant_upload(self.keys)
            before = self._server_cpu(archive)
            usage = upload(archive, token)
            spent = self._server_cpu(archive) - before
            archive.check_received(self.plain)
        return usage, spent

    @contextlib.contextmanager
    def _archive(self, receiver: Receiver) -> Iterator[Archive]:
        """A new archive; nothing of it is left when the block ends."""
        with contextlib.ExitStack() as stack:
            front = free_port() if self.faults or self.conditions else None
            public = None if front is None else f"http://127.0.0.1:{front}"
            archive: Archive
            if receiver == "nginx":
                archive = ArchiveBesideNginx(
                    self.folder, certificate=self.pem, public_url=public, options=self._archive_options
                )
            else:
                archive = Archive(self.folder / "archive", public_url=public, options=self._archive_options)
            stack.callback(self.put_away, archive.root)
            stack.enter_context(archive)
            if front is not None and self.conditions is not None:
                self.line = stack.enter_context(Line(self.conditions, {front: archive.entrance}, self.folder))
            elif front is not None:
                way = proxy(self.folder / "proxy.log", front, archive.entrance, *self.faults)
                self._proxy = stack.enter_context(way)
            yield archive

    def _server_cpu(self, archive: Archive) -> float:
        return archive.cpu_seconds() + (self._proxy.cpu_seconds() if self._proxy else 0.0)
