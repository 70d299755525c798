"""Checks what came in beside an archive: ``python -m benchmarks.servers.received ROOT`` prints alias and sha256.

For each closed upload: all parts are there in order, their md5 and sha256 are what the client said, and what they
hold opens with the hub's private key to the plaintext whose sha256 is the one that the client said.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import trio

from connector.archive.assembly import open_archive
from connector.archive.config import embedded
from connector.crypt4gh.keys import MAX_HEADER_SIZE, header_size, open_header
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SegmentDecryptor
from connector.parts import add_pieces, multipart_etag

_PIECE = 64 * CIPHER_SEGMENT_SIZE


class ReceivedFile:
    """A folder with the parts of one upload, named by their numbers, and what the client says of them."""

    def __init__(self, folder: Path) -> None:
        self.claim: dict[str, Any] = json.loads((folder / "claim.json").read_text())
        count = len(self.claim["encrypted_parts_md5"])
        self.parts = [folder / str(number) for number in range(1, count + 1)]
        if {path.name for path in folder.iterdir()} != {"claim.json", *(path.name for path in self.parts)}:
            raise ValueError(f"{folder} does not hold the {count} parts that were claimed, and nothing else")

    def check(self, hub_private_key: bytes) -> str:
        """The sha256 (hex) of the plaintext; raises where anything is not as claimed."""
        with ThreadPoolExecutor(1) as threads:  # it follows the opening through the page cache
            digests = threads.submit(self._check_parts)
            found = self._open(hub_private_key)
            digests.result()
        if found != self.claim["decrypted_sha256"]:
            raise ValueError(f"the plaintext has the sha256 {found}, not {self.claim['decrypted_sha256']}")
        return found

    def _check_parts(self) -> None:
        md5s = []
        for number, path in enumerate(self.parts):
            md5, sha256 = hashlib.md5(), hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    md5.update(piece)
                    sha256.update(piece)
            md5s.append(md5.hexdigest())
            if sha256.hexdigest() != self.claim["encrypted_parts_sha256"][number]:
                raise ValueError(f"part {number + 1} has another sha256 than claimed")
        if md5s != self.claim["encrypted_parts_md5"] or multipart_etag(md5s) != self.claim["encrypted_md5"]:
            raise ValueError("a part has another md5 than claimed")

    def _open(self, hub_private_key: bytes) -> str:
        with self.parts[0].open("rb") as file:
            head = file.read(MAX_HEADER_SIZE)
        shift = header_size(head)
        if shift is None:
            raise ValueError("the envelope is cut off")
        opener, digest = SegmentDecryptor(open_header(head[:shift], hub_private_key).session_keys), hashlib.sha256()
        for number, content in enumerate(self._pieces(shift)):
            add_pieces(digest, opener.open_part(content, first_segment=number * (_PIECE // CIPHER_SEGMENT_SIZE)))
        return digest.hexdigest()

    def _pieces(self, skip: int) -> Iterator[memoryview]:
        """The content behind the envelope in whole segments, in one buffer that is filled again and again."""
        buffer, filled = memoryview(bytearray(_PIECE)), 0
        for path in self.parts:
            with path.open("rb", buffering=0) as file:
                file.seek(skip)
                skip = 0
                while count := file.readinto(buffer[filled:]):
                    filled += count
                    if filled == _PIECE:
                        yield buffer
                        filled = 0
        if filled:
            yield buffer[:filled]


async def _hub_private_key(root: Path) -> bytes:
    async with open_archive(embedded(root)) as archive:
        return archive.hubs.default.private_keys[0]


def main(root: Path) -> dict[str, str]:
    """Alias and sha256 of all files that came in."""
    hub_private_key = trio.run(_hub_private_key, root)
    files = [ReceivedFile(path.parent) for path in sorted((root / "parts").glob("*/claim.json"))]
    return {file.claim["alias"]: file.check(hub_private_key) for file in files}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
