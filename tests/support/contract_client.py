"""A client of a GHGA-style archive, written from the wire contract alone.

It imports nothing of the package under test: what both got wrong in the same way would else go unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from typing import Any

import httpx
from crypt4gh import header
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.public import PrivateKey, SealedBox

SEGMENT = 65_536
SEALED_SEGMENT = 65_564
MIB = 1024**2


@dataclass
class SealedFile:
    """A file as it is sent: envelope and segments, cut into parts."""

    plaintext: bytes
    content: bytes
    part_size: int

    @property
    def parts(self) -> list[bytes]:
        return [self.content[i : i + self.part_size] for i in range(0, len(self.content), self.part_size)]

    def announcement(self, alias: str, **changes: Any) -> dict[str, Any]:
        body = {
            "alias": alias,
            "decrypted_size": len(self.plaintext),
            "encrypted_size": len(self.content),
            "part_size": self.part_size,
            "overwrite": False,
        }
        return body | changes

    def claim(self, **changes: Any) -> dict[str, Any]:
        md5s = [hashlib.md5(part) for part in self.parts]
        whole = hashlib.md5(b"".join(md5.digest() for md5 in md5s)).hexdigest()
        body = {
            "decrypted_sha256": hashlib.sha256(self.plaintext).hexdigest(),
            "encrypted_md5": f"{whole}-{len(md5s)}",
            "encrypted_parts_md5": [md5.hexdigest() for md5 in md5s],
            "encrypted_parts_sha256": [hashlib.sha256(part).hexdigest() for part in self.parts],
        }
        return body | changes


def seal(
    plaintext: bytes, *, sender: bytes, recipient: bytes, part_size: int = 5 * MIB, key: bytes | None = None
) -> SealedFile:
    """Encrypt as the Crypt4GH specification says, with a fresh key unless one is given."""
    key = key or os.urandom(32)
    packet = header.make_packet_data_enc(0, key)
    envelope = header.serialize(header.encrypt(packet, [(0, sender, recipient)]))
    cipher = ChaCha20Poly1305(key)
    content = bytearray(envelope)
    for start in range(0, len(plaintext), SEGMENT):
        nonce = os.urandom(12)
        content += nonce + cipher.encrypt(nonce, plaintext[start : start + SEGMENT], None)
    return SealedFile(plaintext, bytes(content), part_size)


def unseal(envelope: bytes, content: bytes, private_key: bytes) -> bytes:
    """Decrypt an envelope's content."""
    session_keys, edits = header.deconstruct(io.BytesIO(envelope), [(0, private_key, None)])
    assert edits is None
    cipher = ChaCha20Poly1305(session_keys[0])
    plaintext = bytearray()
    for start in range(0, len(content), SEALED_SEGMENT):
        segment = content[start : start + SEALED_SEGMENT]
        plaintext += cipher.decrypt(segment[:12], segment[12:], None)
    return bytes(plaintext)


@dataclass
class ContractClient:
    """One user with one work package."""

    wkvs_url: str
    access_token: str
    private_key: bytes
    http: httpx.Client
    values: dict[str, Any] = field(init=False)
    package_id: str = field(init=False)
    secret: str = field(init=False)

    def __post_init__(self) -> None:
        answer = self.http.get(f"{self.wkvs_url}/values")
        assert answer.status_code == 200
        self.values = answer.json()
        self.package_id, _, sealed = self.access_token.partition(":")
        self.secret = self.unlock(sealed)

    @property
    def public_key(self) -> bytes:
        return bytes(PrivateKey(self.private_key).public_key)

    @property
    def hub_key(self) -> bytes:
        (key,) = self.values["crypt4gh_public_keys"].values()
        return base64.b64decode(key)

    def unlock(self, sealed: str) -> str:
        return SealedBox(PrivateKey(self.private_key)).decrypt(base64.b64decode(sealed)).decode()

    # Work packages

    def package(self, *, token: str | None = None) -> httpx.Response:
        return self.http.get(
            f"{self.values['wps_api_url']}/work-packages/{self.package_id}", headers=bearer(token or self.secret)
        )

    def order(self, path: str, body: Any = None, *, token: str | None = None) -> httpx.Response:
        return self.http.post(
            f"{self.values['wps_api_url']}/work-packages/{self.package_id}/{path}/work-order-tokens",
            headers=bearer(token or self.secret),
            json=body,
        )

    def download_token(self, accession: str) -> str:
        answer = self.order(f"files/{accession}")
        assert answer.status_code == 201, answer.text
        return self.unlock(answer.json())

    def upload_order(self, work_type: str, *, alias: str | None = None, file_id: str | None = None) -> httpx.Response:
        rdub_id = self.package().json()["research_data_upload_box_id"]
        return self.order(f"boxes/{rdub_id}", {"work_type": work_type, "alias": alias, "file_id": file_id})

    def upload_token(self, work_type: str, **what: str | None) -> str:
        answer = self.upload_order(work_type, **what)
        assert answer.status_code == 201, answer.text
        return self.unlock(answer.json())

    # Uploads

    @property
    def uploads_url(self) -> str:
        return f"{self.values['ucs_api_url']}/boxes/{self.package().json()['file_upload_box_id']}/uploads"

    def seal(self, plaintext: bytes, **options: Any) -> SealedFile:
        return seal(plaintext, sender=self.private_key, recipient=self.hub_key, **options)

    def list_uploads(self, **query: Any) -> httpx.Response:
        return self.http.get(self.uploads_url, headers=bearer(self.upload_token("view")), params=query)

    def create(self, alias: str, file: SealedFile, **changes: Any) -> httpx.Response:
        token = self.upload_token("create", alias=alias)
        return self.http.post(self.uploads_url, headers=bearer(token), json=file.announcement(alias, **changes))

    def part_url(self, file_id: str, number: int | str, *, token: str | None = None) -> httpx.Response:
        token = token or self.upload_token("upload", file_id=file_id)
        return self.http.get(f"{self.uploads_url}/{file_id}/parts/{number}", headers=bearer(token))

    def put_parts(self, file_id: str, parts: list[bytes]) -> None:
        for number, part in enumerate(parts, start=1):
            answer = self.http.put(self.part_url(file_id, number).json(), content=part)
            assert answer.status_code == 200, answer.text
            assert answer.headers["etag"].strip('"') == hashlib.md5(part).hexdigest()

    def close(self, file_id: str, claim: dict[str, Any]) -> httpx.Response:
        token = self.upload_token("close", file_id=file_id)
        return self.http.patch(f"{self.uploads_url}/{file_id}", headers=bearer(token), json=claim)

    def delete(self, file_id: str) -> httpx.Response:
        token = self.upload_token("delete", file_id=file_id)
        return self.http.delete(f"{self.uploads_url}/{file_id}", headers=bearer(token))

    def upload(self, alias: str, file: SealedFile, **changes: Any) -> str:
        created = self.create(alias, file, **changes)
        assert created.status_code == 201, created.text
        file_id = created.json()["file_id"]
        self.put_parts(file_id, file.parts)
        closed = self.close(file_id, file.claim())
        assert closed.status_code == 204, closed.text
        assert closed.content == b""
        return str(file_id)

    # Downloads

    def drs_object(self, accession: str, *, token: str | None = None) -> httpx.Response:
        token = self.download_token(accession) if token is None else token
        return self.http.get(f"{self.values['dcs_api_url']}/objects/{accession}", headers=bearer(token))

    def envelope(self, accession: str) -> bytes:
        token = self.download_token(accession)
        answer = self.http.get(f"{self.values['dcs_api_url']}/objects/{accession}/envelopes", headers=bearer(token))
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith('"')
        return base64.b64decode(answer.json())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))  # type: ignore[no-any-return]


def new_private_key() -> bytes:
    return bytes(PrivateKey.generate())


def public_of(private_key: bytes) -> bytes:
    return bytes(PrivateKey(private_key).public_key)
