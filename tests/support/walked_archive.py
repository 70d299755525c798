"""The folder of an archive with everything that its commands change, made once and copied for each case of a walk."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import attrs
import httpx

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.crypt4gh.keys import KeyPair
from tests.support import boundary
from tests.support.archive_process import serving
from tests.support.contract_client import ContractClient, SealedFile

CONTENT = b"content" * 1000
MANY = ("--open-uploads", "1000000")
SETTINGS = {"CONNECTOR_CONFIG": "/dev/null", "CONNECTOR_ARCHIVE_MANUAL_ARCHIVAL": "true"}


@attrs.frozen(kw_only=True)
class WalkedArchive:
    """An archive at rest, with a file of each state, two boxes, grants and an old key. A steward archives its boxes.

    Attributes:
        root: Its folder.
        open_box, locked_box: Their ids; one file of the locked box waits for its steward.
        grant: The id of a grant.
        old_key: The id of a key that was rotated.
        staged, unstaged: Accessions of registered files.
        upload_token, download_token: Access tokens of the owner of the keys.
    """

    root: Path
    open_box: str
    locked_box: str
    grant: str
    old_key: str
    staged: str
    unstaged: str
    upload_token: str
    download_token: str

    def copy_to(self, folder: Path) -> Path:
        """Copy it into a folder; returns the copy's."""
        return Path(shutil.copytree(self.root, folder / "arch"))


def make_archive(root: Path, keys: KeyPair) -> WalkedArchive:
    """Make such an archive."""
    with serving(root, *MANY) as served, httpx.Client(trust_env=False) as http:
        upload_token = served.grant_upload(keys.public, title="walked")
        client = ContractClient(served.wkvs_url, upload_token, keys.private, http)
        file = client.seal(CONTENT)
        registered = [served.wait_for_file(client.upload(name, file))["accession"] for name in ("staged", "unstaged")]
        failed = _sent(client, "failed", file)
        client.close(failed, file.claim(decrypted_sha256="0" * 64))
        served.wait_for_file(failed, state="failed")
        _sent(client, "open", file)
        download_token = served.grant_download(keys.public)
        _stage(ContractClient(served.wkvs_url, download_token, keys.private, http), registered[0])
        upload_box, grant = str(client.package().json()["file_upload_box_id"]), client.package_id

        async def change(archive: Archive) -> str:
            old = archive.keys.current("signing").id
            await archive.key_rotation.rotate("signing", "")
            return old

        old_key = served.administer(change)
    with serving(root, *MANY, "--manual-archival") as served, httpx.Client(trust_env=False) as http:
        client = ContractClient(served.wkvs_url, served.grant_upload(keys.public), keys.private, http)
        served.wait_for_file(client.upload("waiting", client.seal(CONTENT)), state="interrogated")
        locked_box = str(client.package().json()["file_upload_box_id"])
        served.wait_for_jobs()
        served.administer(lambda archive: admin.set_box_state(archive, locked_box, "locked"))
    return WalkedArchive(
        root=root,
        open_box=upload_box,
        locked_box=locked_box,
        grant=grant,
        old_key=old_key,
        staged=registered[0],
        unstaged=registered[1],
        upload_token=upload_token,
        download_token=download_token,
    )


def _sent(client: ContractClient, alias: str, file: SealedFile) -> str:
    file_id = str(client.create(alias, file).json()["file_id"])
    client.put_parts(file_id, file.parts)
    return file_id


def _stage(client: ContractClient, accession: str) -> None:
    deadline = time.monotonic() + 180
    while client.drs_object(accession).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run_steward(folder: Path, *arguments: str) -> boundary.Ended:
    """Run a command of the archive in `arch`, without a fault."""
    return boundary.run(("archive", *arguments, "--root", "arch"), SETTINGS, folder, None)


def faults_left(folder: Path, *options: str) -> str:
    """What `archive check` finds in the archive in `arch`; the same content is checked once in a process."""
    digest = _digest(folder / "arch")
    if digest in _WHOLE:
        return ""
    ended = run_steward(folder, "check", *options)
    if ended.code == 0:
        _WHOLE.add(digest)
        return ""
    return f"the check finds: {ended.out}{ended.err}"


_WHOLE: set[bytes] = set()
"""Digests of archives in which the check has found nothing: many commands fail before they change any."""


def _digest(root: Path) -> bytes:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return found.digest()
