"""Keys are rotated and grants revoked while clients upload and download: only the latter is noticed."""

from __future__ import annotations

import base64
import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.models import KeyKind
from connector.cli.commands.archive_grants import read_lifetime
from connector.errors import UsageError
from tests.support.archive_cluster import ArchiveCluster
from tests.support.archive_process import run_cli, run_cli_json
from tests.support.contract_client import ContractClient, bearer, unseal
from tests.support.served_archive import ServedArchive

MakeUser = Callable[..., ContractClient]
KINDS: tuple[KeyKind, ...] = ("signing", "hub", "master", "url")


def where(served: ServedArchive) -> list[str]:
    """The options with which commands find the archive."""
    return [str(word) for word in served.location]


def servers(served: ServedArchive) -> list[str]:
    """The URLs of all serving processes, without what is in front of them."""
    if isinstance(served, ArchiveCluster):
        return [f"http://127.0.0.1:{port}" for port in served.ports]
    return [served.wkvs_url.removesuffix("/.well-known")]


def rotate(served: ServedArchive, kind: KeyKind) -> str:
    async def job(archive: Archive) -> str:
        return await archive.key_rotation.rotate(kind, archive.hubs.default.alias if kind == "hub" else "")

    return served.administer(job)


def fetch(user: ContractClient, accession: str) -> bytes:
    """Download a file, waiting until it is staged."""
    deadline = time.monotonic() + 180
    while (answer := user.drs_object(accession)).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    content = user.http.get(answer.json()["access_methods"][0]["access_url"]["url"])
    assert content.status_code == 200, content.text
    return unseal(user.envelope(accession), content.content, user.private_key)


def wait_until_published(served: ServedArchive) -> None:
    """Processes follow the keys within seconds. What is encrypted for a hub's key that was removed by force fails."""

    async def public_key(archive: Archive) -> bytes:
        return archive.hubs.default.public_key

    current = [base64.b64encode(served.administer(public_key)).decode()]
    deadline = time.monotonic() + 180
    for server in servers(served):
        while list(httpx.get(f"{server}/.well-known/values").json()["crypt4gh_public_keys"].values()) != current:
            assert time.monotonic() < deadline
            time.sleep(0.2)


class Client:
    """Does one thing again and again in a thread: at least once before the keys are rotated, and once afterwards."""

    def __init__(self, work: Callable[[ContractClient, int], None], make_user: Callable[[], ContractClient]) -> None:
        self._work = work
        self._make_user = make_user
        self.has_begun = threading.Event()
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=180, trust_env=False) as http:
            user = self._make_user()
            user.http = http
            for count in itertools.count():
                is_last = self.stop.is_set()
                self._work(user, count)
                self.has_begun.set()
                if is_last:
                    return


def test_every_key_is_rotated_while_clients_upload_and_download(
    archive: ServedArchive, uploader: MakeUser, downloader: MakeUser
) -> None:
    sent: dict[str, bytes] = {}

    def upload(user: ContractClient, count: int) -> None:
        plaintext = os.urandom(1000 + count)
        # The key as it was a while ago: clients keep it.
        file = user.seal(plaintext)
        if count % 3 == 0:
            user.values = user.http.get(f"{user.wkvs_url}/values").json()
        sent[user.upload(f"file-{count}", file)] = plaintext

    first = uploader(archive)
    content = os.urandom(100_000)
    accession = archive.wait_for_file(first.upload("first", first.seal(content)))["accession"]

    def download(user: ContractClient, count: int) -> None:
        assert fetch(user, accession) == content

    clients = [
        Client(upload, lambda: uploader(archive)),
        Client(upload, lambda: uploader(archive)),
        Client(download, lambda: downloader([accession])),
    ]
    with ThreadPoolExecutor(len(clients)) as pool:
        work = [pool.submit(client.run) for client in clients]
        try:
            for client, running in zip(clients, work, strict=True):
                while not client.has_begun.wait(0.1):
                    if running.done():
                        running.result()
            for kind in KINDS:
                rotate(archive, kind)
                time.sleep(0.4)
        finally:
            for client in clients:
                client.stop.set()
        for running in work:
            running.result(timeout=180)
    files = {file_id: archive.wait_for_file(file_id)["accession"] for file_id in sent}
    reader = downloader(sorted(files.values()))
    for file_id in list(sent)[:: max(1, len(sent) // 5)]:
        assert fetch(reader, files[file_id]) == sent[file_id]
    rows = run_cli_json("archive", "keys", *where(archive), "--json")
    assert {row["kind"] for row in rows if row["state"] == "current"} == set(KINDS)
    assert all(sum(row["kind"] == kind for row in rows) >= 2 for kind in KINDS)


def test_an_old_hub_key_and_an_old_master_key_can_be_removed_when_nothing_needs_them(
    archive: ServedArchive, registered: Callable[..., tuple[str, bytes]], downloader: MakeUser
) -> None:
    accession, plaintext = registered()
    for kind in KINDS:
        rotate(archive, kind)
    rows = run_cli_json("archive", "keys", *where(archive), "--json")
    for row in rows:
        if row["state"] == "old" and row["kind"] == "master":
            refused = run_cli("archive", "remove-key", *where(archive), row["key"])
            assert (refused.returncode, "worker" in refused.stderr) == (2, True)
            # No worker has anything to do.
            done = run_cli("archive", "remove-key", *where(archive), "--force", row["key"])
            assert done.returncode == 0, done.stderr
    old = next(row["key"] for row in rows if row["state"] == "old" and row["kind"] == "hub")
    refused = run_cli("archive", "remove-key", *where(archive), old)
    assert refused.returncode == 2
    assert "still needed" in refused.stderr
    assert run_cli("archive", "remove-key", *where(archive), "--force", old).returncode == 0
    assert len(list(archive.config.keys_directory.glob("master-*.key"))) == 1
    assert fetch(downloader([accession]), accession) == plaintext
    wait_until_published(archive)


def test_no_secret_is_in_the_database_in_clear(archive: ServedArchive, uploader: MakeUser) -> None:
    user = uploader()

    async def look(opened: Archive) -> tuple[list[bytes], str]:
        secrets = [*(key.secret for key in opened.keys.all() if key.secret), opened.keys.master.key]
        documents = []
        for name in ("keys", "secrets", "packages", "jobs", "boxes", "uploads", "counters"):
            dao = await opened.database.factory.dao(name, dict, id_field="id")
            documents += [str(document) async for document in dao.find_all()]
        return secrets, "\n".join(documents)

    secrets, documents = archive.administer(look)
    assert user.package_id in documents
    assert len(secrets) >= 4
    for secret in (*secrets, user.secret.encode()):
        assert str(secret)[2:-1] not in documents
        assert secret.hex() not in documents.lower()
        assert base64.b64encode(secret).decode() not in documents


class TestRevokedGrants:
    def test_every_request_is_refused_at_once(
        self,
        archive: ServedArchive,
        uploader: MakeUser,
        downloader: MakeUser,
        registered: Callable[..., tuple[str, bytes]],
    ) -> None:
        accession, _ = registered()
        writer, reader = uploader(), downloader([accession])
        rdub = writer.package().json()["research_data_upload_box_id"]
        file = writer.seal(b"content")
        file_id = writer.create("a", file).json()["file_id"]
        tokens = {
            kind: writer.upload_token(kind, file_id=file_id, alias="b")
            for kind in ("view", "create", "upload", "close", "delete")
        }
        download_token, path = reader.download_token(accession), writer.uploads_url.partition("/ucs")[2]
        # Every process has served all of this a moment ago.
        reads = {
            f"/ucs{path}": tokens["view"],
            f"/ucs{path}/{file_id}/parts/1": tokens["upload"],
            f"/dcs/objects/{accession}": download_token,
            f"/dcs/objects/{accession}/envelopes": download_token,
            f"/ga4gh/drs/v1/objects/{accession}": download_token,
        }
        for server in servers(archive):
            for read, token in reads.items():
                answer = writer.http.get(f"{server}{read}", headers=bearer(token))
                assert answer.status_code in (200, 202), (server, read, answer.text)
        for user in (writer, reader):
            done = run_cli("archive", "revoke", *where(archive), user.package_id)
            assert done.returncode == 0, done.stderr
        for server in servers(archive):
            box, file_url = f"{server}/ucs{path}", f"{server}/ucs{path}/{file_id}"
            for method, url, token, body in (
                *(("GET", f"{server}{read}", token, None) for read, token in reads.items()),
                ("POST", box, tokens["create"], file.announcement("b")),
                ("PATCH", file_url, tokens["close"], file.claim()),
                ("DELETE", file_url, tokens["delete"], None),
            ):
                answer = writer.http.request(method, url, headers=bearer(token), json=body)
                assert answer.status_code == 401, (method, url)
            for user in (writer, reader):
                package = f"{server}/wps/work-packages/{user.package_id}"
                assert user.http.get(package, headers=bearer(user.secret)).status_code == 403
            wanted = {"work_type": "view", "alias": None, "file_id": None}
            for owner, order, body in ((writer, f"boxes/{rdub}", wanted), (reader, f"files/{accession}", None)):
                url = f"{server}/wps/work-packages/{owner.package_id}/{order}/work-order-tokens"
                answer = owner.http.post(url, headers=bearer(owner.secret), json=body)
                assert answer.status_code == 403, url
        assert reader.order(f"files/{accession}").status_code == 403
        rows = run_cli_json("archive", "grants", *where(archive), "--json")
        states = {row["grant"]: row["state"] for row in rows}
        assert states[writer.package_id] == states[reader.package_id] == "revoked"

    def test_unknown_grants_are_a_mistake_of_the_user(self, archive: ServedArchive) -> None:
        refused = run_cli("archive", "revoke", *where(archive), "nothing")
        assert refused.returncode == 2
        assert "grants" in refused.stderr

    def test_the_listing_has_validity_and_last_use(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader(lifetime=3600)
        before: Any = self.row(archive, user)
        assert before["last_used"] is None
        assert user.package().status_code == 200
        after = self.row(archive, user)
        assert (after["state"], after["type"]) == ("valid", "upload")
        assert after["created"] < after["last_used"] < after["expires"]
        shown = run_cli("archive", "grants", *where(archive)).stdout
        assert user.package_id in shown
        assert user.secret not in shown

    def row(self, archive: ServedArchive, user: ContractClient) -> dict[str, str]:
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


@pytest.mark.parametrize("text", ["soon", "0s", "-3d", "1970-01-01T00:00", "2027-13-01", "9999-12-31", "99999999d"])
def test_what_is_no_end_of_a_grant(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        read_lifetime(text, 1000.0)
