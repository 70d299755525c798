"""Puts files into an archive as if they had been uploaded, interrogated and staged, and into nginx's folder.

python -m benchmarks.servers.stocking ROOT SERVED FILE ...

An upload would take several times as long and three times the disk. Each file is sealed once, under a secret of the
archive's, right into the download bucket; nginx's folder gets a hard link to it. Prints, as JSON, the id and the
sha256 of each sealed object, and the accession.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.models import FileUpload
from connector.archive.settings import utc_now
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, PartSealer, SealedLayout, sealed_size
from connector.parts import Parts
from persistence.objects.filesystem import FilesystemStorage

_PIECE = 64 * CIPHER_SEGMENT_SIZE


class SealedFile:
    """A file that is sealed while it is read; knows both sha256 (hex) when it has been read to its end."""

    def __init__(self, path: Path, secret: bytes) -> None:
        self._path = path
        self._secret = secret
        self.size = path.stat().st_size
        self._plain = hashlib.sha256()
        self._sealed = hashlib.sha256()

    @property
    def plain_sha256(self) -> str:
        return self._plain.hexdigest()

    @property
    def sealed_sha256(self) -> str:
        return self._sealed.hexdigest()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The sealed segments in order, without envelope."""
        layout = SealedLayout(b"", self.size)
        sealer = PartSealer(layout, session_key=self._secret, nonce_seed=os.urandom(32), random_bytes=os.urandom)
        with self._path.open("rb", buffering=0) as file:

            def read(_: int, views: Sequence[memoryview]) -> None:
                if os.readv(file.fileno(), views) != sum(map(len, views)):
                    raise OSError(f"{self._path} became shorter")

            for part in Parts(sealed_size(self.size), _PIECE):
                loaded = sealer.read_plaintext(part, memoryview(bytearray(part.size)), read)
                for view in loaded.plaintext:
                    self._plain.update(view)
                piece = loaded.seal()
                self._sealed.update(piece)
                yield bytes(piece)


async def stock(archive: Archive, served: Path, path: Path) -> dict[str, Any]:
    """Seal, store and register one file under its name."""
    hub = archive.hubs.default
    assert isinstance(hub.storage, FilesystemStorage)
    object_id, secret = str(uuid4()), os.urandom(32)
    sealed = SealedFile(path, secret)
    await hub.storage.put_object(hub.buckets.download, object_id, sealed.pieces())
    stat, find_spans = await hub.storage.local_files(hub.buckets.download, object_id)
    [(content, _, _)] = find_spans(0, stat.size)
    os.link(content, served / object_id)
    upload = FileUpload(
        id=object_id,
        box_id="stocked",
        alias=path.name,
        state="archived",
        storage_alias=hub.alias,
        upload_id="stocked",
        decrypted_size=sealed.size,
        encrypted_size=sealed_size(sealed.size),
        part_size=_PIECE,
        created=utc_now(),
        state_updated=utc_now(),
        decrypted_sha256=sealed.plain_sha256,
        secret_id=await archive.key_store.deposit(secret),
        object_id=object_id,
    )
    file = archive.registry.new_file(upload, await archive.registry.next_accession())
    # Staged for good: no job unstages it.
    await archive.database.files.insert(attrs.evolve(file, staged_id=object_id, last_used=utc_now()))
    return {"object_id": object_id, "accession": file.accession, "sha256": sealed.sealed_sha256}


async def main(root: Path, served: Path, paths: Sequence[Path]) -> None:
    async with open_archive(embedded(root)) as archive:
        print(json.dumps([await stock(archive, served, path) for path in paths]))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), Path(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
