"""The harness's own servers: parts that nginx receives, what is made of them, and archives that are stocked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import make_random_file, sha256_of
from benchmarks.servers.archive_beside_nginx import UploadsBeside, with_parts
from benchmarks.servers.received import ReceivedFile
from connector.archive.errors import UploadCompletionError
from connector.crypt4gh.keys import KeyPair, make_header
from connector.crypt4gh.segments import PartSealer, SealedLayout, sealed_size
from connector.parts import Parts, multipart_etag
from connector.wire.payloads import UploadCompletion, UploadCreation
from tests.support.memory_archive import memory_archive

KEYS = KeyPair.of(os.urandom(32))
PART = 1_000_000


def receive(folder: Path, plain: bytes) -> Path:
    """Let a folder hold what a client would have sent of ``plain``."""
    secret = os.urandom(32)
    envelope = make_header(secret, sender_private_key=os.urandom(32), recipient_public_keys=[KEYS.public])
    sealer = PartSealer(
        SealedLayout(envelope, len(plain)), session_key=secret, nonce_seed=os.urandom(32), random_bytes=os.urandom
    )

    def read(offset: int, views: Any) -> None:
        for view in views:
            view[:] = plain[offset : offset + len(view)]
            offset += len(view)

    folder.mkdir()
    digests = []
    for part in Parts(len(envelope) + sealed_size(len(plain)), PART):
        sealed = bytes(sealer.read_plaintext(part, memoryview(bytearray(part.size)), read).seal())
        (folder / str(part.number)).write_bytes(sealed)
        digests.append((hashlib.md5(sealed).hexdigest(), hashlib.sha256(sealed).hexdigest()))
    claim = {
        "decrypted_sha256": hashlib.sha256(plain).hexdigest(),
        "encrypted_parts_md5": [md5 for md5, _ in digests],
        "encrypted_parts_sha256": [sha256 for _, sha256 in digests],
        "encrypted_md5": multipart_etag(md5 for md5, _ in digests),
    }
    (folder / "claim.json").write_text(json.dumps(claim))
    return folder


def change_claim(folder: Path, **changes: Any) -> None:
    path = folder / "claim.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestReceivedFiles:
    @pytest.mark.parametrize("size", [1, 65536, 5_000_000])
    def test_what_is_whole(self, tmp_path: Path, size: int) -> None:
        plain = os.urandom(size)
        folder = receive(tmp_path / "file", plain)
        assert ReceivedFile(folder).check(KEYS.private) == hashlib.sha256(plain).hexdigest()

    def test_swapped_parts(self, tmp_path: Path) -> None:
        folder = receive(tmp_path / "file", os.urandom(3_000_000))
        one, two = (folder / "1").read_bytes(), (folder / "2").read_bytes()
        (folder / "1").write_bytes(two)
        (folder / "2").write_bytes(one)
        with pytest.raises(Exception, match="magic number"):
            ReceivedFile(folder).check(KEYS.private)

    @pytest.mark.parametrize("name", ["encrypted_parts_md5", "encrypted_parts_sha256"])
    def test_wrong_digests_of_a_part(self, tmp_path: Path, name: str) -> None:
        folder = receive(tmp_path / "file", os.urandom(1_500_000))
        claimed = json.loads((folder / "claim.json").read_text())[name]
        change_claim(folder, **{name: [claimed[0], claimed[0]]})
        with pytest.raises(ValueError, match="than claimed"):
            ReceivedFile(folder).check(KEYS.private)

    @pytest.mark.parametrize("name", ["encrypted_md5", "decrypted_sha256"])
    def test_wrong_digest_of_the_whole(self, tmp_path: Path, name: str) -> None:
        folder = receive(tmp_path / "file", os.urandom(1_500_000))
        change_claim(folder, **{name: "0" * 64})
        with pytest.raises(ValueError, match=r"claimed|sha256"):
            ReceivedFile(folder).check(KEYS.private)

    def test_too_many_parts_and_too_few(self, tmp_path: Path) -> None:
        folder = receive(tmp_path / "file", os.urandom(1_500_000))
        (folder / "3").write_bytes(b"more")
        with pytest.raises(ValueError, match="2 parts"):
            ReceivedFile(folder)
        (folder / "3").unlink()
        (folder / "2").unlink()
        with pytest.raises(ValueError, match="2 parts"):
            ReceivedFile(folder)


@pytest.mark.trio
class TestParts:
    async def ask(self, parts: Path, path: str, body: Path | None, *, method: str = "PUT") -> Any:
        said = []

        async def send(message: Any) -> None:
            said.append(message)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"status": "passed on"})

        headers = [(b"x-body-file", str(body).encode())] if body else []
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await with_parts(app, parts)(scope, None, send)
        return said[0]["status"]

    async def test_a_part_comes_to_its_place(self, tmp_path: Path) -> None:
        body = tmp_path / "0000000001"
        body.write_bytes(b"sealed")
        assert await self.ask(tmp_path, "/parts/0b5c-9f/12", body) == 200
        assert (tmp_path / "0b5c-9f" / "12").read_bytes() == b"sealed"
        assert not body.exists()

    @pytest.mark.parametrize("path", ["/parts/../12", "/parts/a/b", "/parts/a/1/2"])
    async def test_other_paths(self, tmp_path: Path, path: str) -> None:
        body = tmp_path / "0000000001"
        body.write_bytes(b"sealed")
        assert await self.ask(tmp_path, path, body) == 400
        assert body.exists()

    async def test_only_what_nginx_has_received(self, tmp_path: Path) -> None:
        assert await self.ask(tmp_path, "/parts/a/1", None) == 400

    async def test_everything_else_is_passed_on(self, tmp_path: Path) -> None:
        assert await self.ask(tmp_path, "/ucs/boxes", None) == "passed on"


@pytest.mark.trio
async def test_an_upload_whose_parts_came_by_way_of_nginx(tmp_path: Path) -> None:
    async with memory_archive() as archive:
        uploads = UploadsBeside(archive, tmp_path, "http://nginx.test")
        box = await archive.boxes.create(title="", storage_alias="embedded")
        part = bytes(252)
        md5 = hashlib.md5(part)
        claim = UploadCompletion(
            decrypted_sha256="0" * 64,
            encrypted_md5=multipart_etag([md5.hexdigest()]),
            encrypted_parts_md5=(md5.hexdigest(),),
            encrypted_parts_sha256=("0" * 64,),
        )
        upload = await uploads.create(
            box.id,
            UploadCreation(alias="a", decrypted_size=100, encrypted_size=252, part_size=5 << 20, overwrite=False),
        )
        assert (await uploads.part_url(box.id, upload.id, 1)).startswith(f"http://nginx.test/parts/{upload.id}/1?")
        with pytest.raises(UploadCompletionError):
            await uploads.close(box.id, upload.id, claim)
        (tmp_path / upload.id).mkdir()
        (tmp_path / upload.id / "1").write_bytes(part)
        await uploads.close(box.id, upload.id, claim)
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"
        kept = json.loads((tmp_path / upload.id / "claim.json").read_text())
        assert kept["encrypted_parts_md5"] == [md5.hexdigest()]


def test_stocked_archives_hold_what_they_were_given(tmp_path: Path) -> None:
    source, served = tmp_path / "source.bin", tmp_path / "served"
    digest = make_random_file(source, 5_000_000)
    served.mkdir()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.servers.stocking",
        tmp_path / "archive",
        served,
        source,
    ]
    (file,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    (path,) = served.iterdir()
    assert path.name == file["object_id"]
    assert path.stat().st_size == sealed_size(5_000_000)
    assert sha256_of(path) == file["sha256"]
    files: list[str | Path] = [
        sys.executable,
        "-m",
        "connector",
        "archive",
        "files",
        "--json",
        "--root",
        tmp_path / "archive",
    ]
    (known,) = json.loads(subprocess.run(files, check=True, capture_output=True).stdout)
    assert (known["alias"], known["sha256"], known["accession"]) == ("source.bin", digest, file["accession"])
