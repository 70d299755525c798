"""A grant is revoked while its user uploads or downloads; with another one the same command is taken up again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import attrs
import httpx
import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.jobs import new_job
from tests.support.command_line import CommandLine
from tests.support.contract_client import ContractClient
from tests.support.program import Done, Program, finish, kill_at_end
from tests.support.served_archive import ServedArchive

REFUSED = 4
CAP = 5
"""Open uploads of a box."""


@attrs.frozen
class User:
    """A user with a key pair, and what its commands need."""

    archive: ServedArchive
    command_line: CommandLine

    def program(self, token: str) -> Program:
        folder = self.command_line.folder
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": self.archive.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "my.sec"),
            "CONNECTOR_ACCESS_TOKEN": token,
        }
        return Program(folder, settings)

    @contextmanager
    def running(self, token: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command; the block begins when it has used its grant."""
        process = self.program(token).start(*arguments)
        try:
            deadline = time.monotonic() + 60
            while not self._was_used(token):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield process
        finally:
            kill_at_end([process])

    def _was_used(self, token: str) -> bool:
        rows = self.archive.administer(admin.list_grants)
        return next(row["last_used"] for row in rows if row["grant"] == token.partition(":")[0]) is not None

    def revoke(self, token: str) -> None:
        self.archive.administer(lambda archive: admin.revoke_grants(archive, [token]))


@pytest.fixture
def user(archive: ServedArchive, tmp_path: Path) -> User:
    return User(archive, CommandLine.of(archive, tmp_path / "user"))


def check_refused(done: Done) -> None:
    assert (done.code, "Traceback" in done.err) == (REFUSED, False), done.err
    assert "expired" in done.err


def test_while_a_download_waits_for_its_file(
    archive: ServedArchive, user: User, registered: Callable[..., tuple[str, bytes]]
) -> None:
    accession, plaintext = registered()

    async def never_staged(opened: Archive) -> None:
        """A job that is due much later: clients are told to come again meanwhile."""
        file, now = await opened.registry.get(accession), await opened.database.factory.now()
        later = now + timedelta(hours=1)
        await opened.database.jobs.insert(new_job(file.file_id, "stage", hub=file.storage_alias, now=now, due=later))

    async def staged_at_once(opened: Archive) -> None:
        file, now = await opened.registry.get(accession), await opened.database.factory.now()
        await opened.database.jobs.compare_and_set(file.file_id, expected={}, changes={"due": now})

    archive.administer(never_staged)
    command = ("download", "--decrypt", "--output-dir", "out")
    token = archive.grant_download(user.command_line.keys.public, [accession])
    with user.running(token, *command) as process:
        time.sleep(0.5)
        assert process.poll() is None
        user.revoke(token)
        check_refused(finish(process))
    archive.administer(staged_at_once)
    again = user.program(archive.grant_download(user.command_line.keys.public, [accession])).run(*command)
    assert again.code == 0, again.err
    assert [file.read_bytes() for file in (user.command_line.folder / "out").iterdir()] == [plaintext]


def test_while_an_upload_waits_for_a_free_place(archive: ServedArchive, user: User, http: httpx.Client) -> None:
    keys = user.command_line.keys
    token = archive.grant_upload(keys.public)
    other = ContractClient(archive.wkvs_url, token, keys.private, http)
    box_id = other.package().json()["file_upload_box_id"]
    open_uploads = [other.create(f"open-{number}", other.seal(b"content")).json()["file_id"] for number in range(CAP)]
    source = user.command_line.folder / "sample.bin"
    source.write_bytes(os.urandom(100_000))
    # Not that of the other client, which has used its own.
    token = archive.grant_upload(keys.public, box_id=box_id)
    with user.running(token, "upload", source.name) as process:
        time.sleep(0.5)
        assert process.poll() is None
        user.revoke(token)
        check_refused(finish(process))
    for file_id in open_uploads:
        assert other.delete(file_id).status_code == 204
    again = user.program(archive.grant_upload(keys.public, box_id=box_id)).run("upload", source.name)
    assert again.code == 0, again.err
    (sent,) = [item for item in other.list_uploads().json()["items"] if item["alias"] == source.name]
    assert archive.wait_for_file(sent["id"])["decrypted_size"] == 100_000
