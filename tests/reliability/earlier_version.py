"""What an earlier version has left on the disk, put in place as if it had run here a moment ago.

The samples name the folder, the machine and the archive that they were made with. They are rewritten for those of the
test by the format's rules as they stood then, which are stated here again: nothing is read or written by today's code.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
from crypt4gh import header
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.crypt4gh.keys import KeyPair
from tests.support.contract_client import SEALED_SEGMENT, SEGMENT, SealedFile
from tests.support.fake_archive import FakeArchive, Stored, Upload

SAMPLES = Path(__file__).parent / "samples"
TREES = ("state", "encrypted", "decrypted")
BOX = UUID(int=1)
OBJECT_KEY = hashlib.sha256(b"session key of the samples").digest()
SOURCES = {"many.bin": 2 * 80 * SEGMENT + 100_000, "small.bin": 3_000, "announced.bin": 4_000, "done.bin": 2_000}
OBJECTS = {"GHGAF1": 2 * SEGMENT + 100, "GHGAF9": 500}
"""Plaintext sizes by name and accession."""
PLAIN = b"plain" * 200
FILES = (*SOURCES, "done/GHGAF9.bin", "plain.bin.c4gh", "opened/plain.bin")
"""What is there beside the state, with the modification times that the notes name."""


def content(name: str) -> bytes:
    """The plaintext of a source or an object."""
    return random.Random(name).randbytes((SOURCES | OBJECTS)[name])


def machine() -> dict[str, str]:
    """How lock files and journals name this machine and its present boot."""
    return {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
    }


class SampleArchive(FakeArchive):
    """Seals its objects the same each time, and knows of parts that it was sent earlier their digests alone."""

    def __init__(self, user: KeyPair) -> None:
        super().__init__(user)
        self.digests: dict[str, dict[str, str]] = {}
        """By number of the part: ``md5`` and ``sha256``."""
        for accession in OBJECTS:
            self.files[accession] = self._sealed(content(accession))

    def _sealed(self, plaintext: bytes) -> Stored:
        packet = header.make_packet_data_enc(0, OBJECT_KEY)
        data = header.serialize(header.encrypt(packet, [(0, os.urandom(32), self.user.public)]))
        for number, start in enumerate(range(0, len(plaintext), SEGMENT)):
            nonce = number.to_bytes(12, "big")
            data += nonce + ChaCha20Poly1305(OBJECT_KEY).encrypt(nonce, plaintext[start : start + SEGMENT], None)
        return Stored(plaintext, SealedFile(plaintext, bytes(data), SEALED_SEGMENT))

    def _close(self, upload: Upload, body: dict[str, Any]) -> None:
        if upload.alias != "many.bin":
            super()._close(upload, body)
            return
        stored = dict(self.digests)
        for number, part in upload.parts.items():
            stored[str(number)] = {"md5": hashlib.md5(part).hexdigest(), "sha256": hashlib.sha256(part).hexdigest()}
        for name in ("md5", "sha256"):
            assert body[f"encrypted_parts_{name}"] == [stored[number][name] for number in sorted(stored)]
        assert body["decrypted_sha256"] == hashlib.sha256(content("many.bin")).hexdigest()
        upload.state = "inbox"


@attrs.frozen
class Samples:
    """The samples, put in place below ``folder`` for the archive at ``wkvs_url``; ``facts``: how they were made."""

    folder: Path
    wkvs_url: str
    facts: dict[str, Any]

    @classmethod
    def put(cls, folder: Path, wkvs_url: str, *, here: bool = True) -> Samples:
        """Copy them; with ``here`` they were left by this boot of this machine, otherwise by another machine."""
        samples = cls(folder, wkvs_url, json.loads((SAMPLES / "facts.json").read_text()))
        for tree in TREES:
            for path in (SAMPLES / tree).rglob("*"):
                if path.is_file():
                    samples._place(path, here=here)
        # Later than the journals: were the digests of the sources not read, the sources would count as changed.
        finished = {"done/GHGAF9.bin": content("GHGAF9"), "opened/plain.bin": PLAIN}
        for name in FILES:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            if name in SOURCES:
                path.write_bytes(content(name))
            else:
                path.write_bytes(finished.get(name) or (SAMPLES / name).read_bytes())
            os.utime(path, ns=(samples.facts["mtimes"][name],) * 2)
        return samples

    def _place(self, path: Path, *, here: bool) -> None:
        target = self.folder / path.relative_to(SAMPLES).with_name(self._renamed(path.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".part":
            shutil.copyfile(path, target)
        elif path.suffix == ".lock":
            target.write_text(json.dumps(self._moved(json.loads(path.read_text()), here=here)))
        else:
            lines = path.read_bytes().splitlines()
            target.write_bytes(b"".join(_encode(self._moved(_decode(line), here=here)) for line in lines))

    def _moved(self, record: dict[str, Any], *, here: bool) -> dict[str, Any]:
        """A record with the folder and the machine that it is to name instead of those of the samples."""
        owner = machine() if here else dict.fromkeys(machine(), "another")
        replaced = {self.facts["machine"][name]: value for name, value in owner.items()}
        replaced[self._origin(self.facts["folder"])] = self._origin(str(self.folder))
        old = self.facts["folder"]
        return {
            name: value.replace(old, str(self.folder))
            if isinstance(value, str) and old in value
            else replaced.get(value, value)
            if isinstance(value, str)
            else value
            for name, value in record.items()
        }

    def _origin(self, folder: str) -> str:
        """What the note of the decrypted file says it was made of."""
        source = SAMPLES / "plain.bin.c4gh"
        facts = ["decryption", f"{folder}/{source.name}", source.stat().st_size, self.facts["mtimes"][source.name]]
        return hashlib.blake2b("\0".join(map(str, facts)).encode(), digest_size=16).hexdigest()

    def _renamed(self, name: str) -> str:
        """The name of a file in the state folder is a hash of what it is about."""
        stem, dot, rest = name.partition(".")
        if len(stem) != 32:
            return name
        before = _names(self.facts["folder"], self.facts["wkvs_url"], self.facts["machine"]["host"])
        now = _names(str(self.folder), self.wkvs_url, socket.gethostname())
        return now[before.index(stem)] + dot + rest


def _names(folder: str, wkvs_url: str, host: str) -> list[str]:
    downloads = [f"{folder}/{name}" for name in ("encrypted", "decrypted", "done")]
    about = [f"{BOX}\0{alias}\0{folder}/{alias}" for alias in SOURCES]
    about += [str(BOX), folder, f"{folder}/opened", *(f"{download} {wkvs_url}" for download in downloads)]
    about += [f"{host}\0{download}" for download in downloads]
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in about]


def _decode(line: bytes) -> dict[str, Any]:
    digest, _, body = line.partition(b" ")
    assert digest.decode() == hashlib.blake2b(body, digest_size=8).hexdigest()
    record: dict[str, Any] = json.loads(body)
    return record


def _encode(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n"
