"""Keys are rotated and grants revoked while clients upload and download: only the latter is noticed."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.models import KeyKind
from connector.cli.commands.archive_grants import read_lifetime
from connector.errors import UsageError
from tests.support.archive_process import ArchiveProcess, run_cli, run_cli_json
from tests.support.contract_client import ContractClient, bearer, unseal

MakeUser = Callable[..., ContractClient]
KINDS: tuple[KeyKind, ...] = ("signing", "hub", "master", "url")


def rotate(served: ArchiveProcess, kind: KeyKind) -> str:
    async def job(archive: Archive) -> str:
        return await archive.key_rotation.rotate(kind, "embedded" if kind == "hub" else "")

    return served.administer(job)


def fetch(user: ContractClient, accession: str) -> bytes:
    """Download a file, waiting until it is staged."""
    deadline = time.monotonic() + 20
    while (answer := user.drs_object(accession)).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    content = user.http.get(answer.json()["access_methods"][0]["access_url"]["url"])
    assert content.status_code == 200, content.text
    return unseal(user.envelope(accession), content.content, user.private_key)


def test_every_key_is_rotated_while_clients_upload_and_download(
    archive: ArchiveProcess, uploader: MakeUser, downloader: MakeUser
) -> None:
    stop = threading.Event()
    sent: dict[str, bytes] = {}

    def upload(number: int) -> int:
        with httpx.Client(timeout=30, trust_env=False) as http:
            user, count = uploader(archive), 0
            user.http = http
            while not stop.is_set():
                plaintext = os.urandom(1000 + count)
                # The key as it was a while ago: clients keep it.
                file = user.seal(plaintext)
                if count % 3 == 0:
                    user.values = http.get(f"{user.wkvs_url}/values").json()
                sent[user.upload(f"{number}-{count}", file)] = plaintext
                count += 1
            return count

    def download(accession: str, plaintext: bytes) -> int:
        with httpx.Client(timeout=30, trust_env=False) as http:
            user, count = downloader([accession]), 0
            user.http = http
            while not stop.is_set():
                assert fetch(user, accession) == plaintext
                count += 1
            return count

    first = uploader(archive)
    content = os.urandom(100_000)
    accession = archive.wait_for_file(first.upload("first", first.seal(content)))["accession"]
    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(upload, 1), pool.submit(upload, 2), pool.submit(download, accession, content)]
        try:
            for kind in (*KINDS, *KINDS):
                rotate(archive, kind)
                time.sleep(0.3)
        finally:
            stop.set()
        counts = [one.result(timeout=60) for one in work]
    assert min(counts) > 2, counts
    files = {file_id: archive.wait_for_file(file_id)["accession"] for file_id in sent}
    reader = downloader(sorted(files.values()))
    for file_id in list(sent)[:: max(1, len(sent) // 5)]:
        assert fetch(reader, files[file_id]) == sent[file_id]
    rows = run_cli_json("archive", "keys", "--root", str(archive.root), "--json")
    assert {row["kind"] for row in rows if row["state"] == "current"} == set(KINDS)
    assert all(sum(row["kind"] == kind for row in rows) >= 3 for kind in KINDS)


def test_an_old_hub_key_and_an_old_master_key_can_be_removed_when_nothing_needs_them(
    archive: ArchiveProcess, registered: Callable[..., tuple[str, bytes]], downloader: MakeUser
) -> None:
    accession, plaintext = registered()
    for kind in KINDS:
        rotate(archive, kind)
    rows = run_cli_json("archive", "keys", "--root", str(archive.root), "--json")
    for row in rows:
        if row["state"] == "old" and row["kind"] == "master":
            done = run_cli("archive", "remove-key", "--root", str(archive.root), row["key"])
            assert done.returncode == 0, done.stderr
    old = next(row["key"] for row in rows if row["state"] == "old" and row["kind"] == "hub")
    refused = run_cli("archive", "remove-key", "--root", str(archive.root), old)
    assert refused.returncode == 2
    assert "still needed" in refused.stderr
    assert run_cli("archive", "remove-key", "--root", str(archive.root), "--force", old).returncode == 0
    assert len(list((archive.root / "keys").glob("master-*.key"))) == 1
    assert fetch(downloader([accession]), accession) == plaintext


def test_no_secret_is_in_the_database_in_clear(archive: ArchiveProcess, uploader: MakeUser) -> None:
    user = uploader()

    async def secrets(opened: Archive) -> list[bytes]:
        return [*(key.secret for key in opened.keys.all() if key.secret), opened.keys.master.key]

    known = archive.administer(secrets)
    database = sqlite3.connect(f"file:{archive.root / 'archive.sqlite'}?mode=ro", uri=True)
    dump = "\n".join(database.iterdump()).encode() + b"".join(
        file.read_bytes() for file in archive.root.glob("archive.sqlite*")
    )
    database.close()
    assert user.package_id.encode() in dump
    for secret in (*known, user.secret.encode()):
        assert secret not in dump
        assert secret.hex().encode() not in dump.lower()


class TestRevokedGrants:
    def test_every_request_is_refused_at_once(
        self,
        archive: ArchiveProcess,
        uploader: MakeUser,
        downloader: MakeUser,
        registered: Callable[..., tuple[str, bytes]],
    ) -> None:
        accession, _ = registered()
        writer, reader = uploader(), downloader([accession])
        file = writer.seal(b"content")
        file_id = writer.create("a", file).json()["file_id"]
        tokens = {
            kind: writer.upload_token(kind, file_id=file_id, alias="b")
            for kind in ("view", "create", "upload", "close", "delete")
        }
        download_token, box = reader.download_token(accession), writer.uploads_url
        assert writer.http.get(box, headers=bearer(tokens["view"])).status_code == 200
        for user in (writer, reader):
            done = run_cli("archive", "revoke", "--root", str(archive.root), user.package_id)
            assert done.returncode == 0, done.stderr
        for method, url, kind, body in (
            ("GET", box, "view", None),
            ("POST", box, "create", file.announcement("b")),
            ("GET", f"{box}/{file_id}/parts/1", "upload", None),
            ("PATCH", f"{box}/{file_id}", "close", file.claim()),
            ("DELETE", f"{box}/{file_id}", "delete", None),
        ):
            assert writer.http.request(method, url, headers=bearer(tokens[kind]), json=body).status_code == 401, method
        assert reader.drs_object(accession, token=download_token).status_code == 401
        envelope = f"{reader.values['dcs_api_url']}/objects/{accession}/envelopes"
        assert reader.http.get(envelope, headers=bearer(download_token)).status_code == 401
        for user in (writer, reader):
            assert user.package().status_code == 403
        assert reader.order(f"files/{accession}").status_code == 403
        rows = run_cli_json("archive", "grants", "--root", str(archive.root), "--json")
        states = {row["grant"]: row["state"] for row in rows}
        assert states[writer.package_id] == states[reader.package_id] == "revoked"

    def test_unknown_grants_are_a_mistake_of_the_user(self, archive: ArchiveProcess) -> None:
        refused = run_cli("archive", "revoke", "--root", str(archive.root), "nothing")
        assert refused.returncode == 2
        assert "grants" in refused.stderr

    def test_the_listing_has_validity_and_last_use(self, archive: ArchiveProcess, uploader: MakeUser) -> None:
        user = uploader(lifetime=3600)
        before = self.row(archive, user)
        assert before["last_used"] is None
        assert user.package().status_code == 200
        after = self.row(archive, user)
        assert (after["state"], after["type"]) == ("valid", "upload")
        assert after["created"] < after["last_used"] < after["expires"]
        shown = run_cli("archive", "grants", "--root", str(archive.root)).stdout
        assert user.package_id in shown
        assert user.secret not in shown

    def row(self, archive: ArchiveProcess, user: ContractClient) -> dict[str, str]:
        rows = archive.administer(admin.list_grants)
        return next(row for row in rows if row["grant"] == user.package_id)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12h", 43_200),
        ("90d", 7_776_000),
        ("1970-01-03", 2 * 86_400 - 1000 + 86_400),
        ("1970-01-02T00:00", 86_400 - 1000),
    ],
)
def test_when_a_grant_ends(text: str, seconds: float) -> None:
    assert read_lifetime(text, 1000.0) == seconds


@pytest.mark.parametrize("text", ["soon", "0s", "-3d", "1970-01-01T00:00", "2027-13-01"])
def test_what_is_no_end_of_a_grant(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        read_lifetime(text, 1000.0)
