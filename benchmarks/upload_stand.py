"""A stand with files to upload and, for every run, an archive of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from benchmarks.process import Usage, free_port
from benchmarks.servers.archive import Archive
from benchmarks.servers.nginx import Nginx
from benchmarks.stand import Stand, proxy


class UploadStand(Stand):
    """A stand with one folder of sources and, for every run, an archive of its own."""

    def prepare(self, sizes: Sequence[int], *, faults: Sequence[str] = (), tls: bool | None = None) -> UploadStand:
        """Make sources of these sizes. ``faults`` as for downloads; ``tls``: whether to go through nginx, and how."""
        made = [self.source(f"file-{number:05}.bin", size) for number, size in enumerate(sizes)]
        self.sources = [path for path, _ in made]
        self.plain = {path.name: digest for path, digest in made}
        self.faults = faults
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
        if self.faults or self.tls is not None:
            public = f"{'https' if self.tls else 'http'}://127.0.0.1:{front}"
        archive = Archive(root, public_url=public)
        with contextlib.ExitStack() as stack:
            stack.callback(archive.remove)
            stack.enter_context(archive)
            if self.faults:
                stack.enter_context(proxy(self.folder / "proxy.log", front, archive.port, *self.faults))
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
