"""The walk along the boundary of commands that list and remove, of pipes, and of the demonstration."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import httpx
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.download.unfinished import unfinished_downloads
from connector.local.key_files import read_private_key
from connector.upload.listing import unfinished_uploads
from tests.reliability.conftest import WalkKeys
from tests.support import boundary
from tests.support.archive_process import ArchiveProcess
from tests.support.boundary import GIVEN, Ended
from tests.support.call_sites import ROOT
from tests.support.contract_client import ContractClient
from tests.support.walk import PLAIN, Case, Walk, faults_of, walk_along

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux"),
]


UPLOADS = Path("state", "connector", "uploads")
"""Where the journals of uploads are."""


@attrs.frozen(kw_only=True)
class Site:
    """A user of an archive whose earlier upload and download were interrupted; `left` is the folder that has them."""

    keys: WalkKeys
    archive: ArchiveProcess
    left: Path
    uploads: Mapping[str, str]
    downloads: Mapping[str, str]
    calls: int = 20
    """After which a download leaves something."""

    def prepare(self, folder: Path) -> None:
        """Put keys, and what is left, into a folder."""
        self.keys.copy_to(folder)
        shutil.copytree(self.left, folder, dirs_exist_ok=True)
        self.interrupt_download(folder)

    def interrupt_download(self, folder: Path) -> int:
        """Interrupt a download in a folder, whose own path the records of it have."""
        arguments, environment = ("download", "--output-dir", "out"), {**self.downloads, **_state_in(folder)}
        return interrupt(
            arguments, environment, folder, lambda: bool(unfinished_downloads(folder / "out")), first=self.calls
        )

    def upload(self, alias: str) -> None:
        """Put a file into the box."""
        private = read_private_key(self.keys.folder / "my.sec", str)
        with httpx.Client(trust_env=False) as http:
            token = self.uploads["CONNECTOR_ACCESS_TOKEN"]
            client = ContractClient(self.archive.wkvs_url, token, private, http)
            client.upload(alias, client.seal(PLAIN))


@pytest.fixture(scope="module")
def site(walk_keys: WalkKeys, walk_archive: ArchiveProcess, tmp_path_factory: pytest.TempPathFactory) -> Site:
    common = {
        "CONNECTOR_CONFIG": "/dev/null",
        "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
        "CONNECTOR_WKVS_URL": walk_archive.wkvs_url,
        "CONNECTOR_RETRIES": "0",
    }
    folder = tmp_path_factory.mktemp("left")
    walk_keys.copy_to(folder)
    keys = KeyPair.of(read_private_key(folder / "my.sec", str))
    uploads = {**common, "CONNECTOR_ACCESS_TOKEN": walk_archive.grant_upload(keys.public)}
    made = Site(keys=walk_keys, archive=walk_archive, left=folder, uploads=uploads, downloads={})
    made.upload("first")
    file_id = next(row["file_id"] for row in walk_archive.administer(_uploads))
    walk_archive.wait_for_file(file_id)
    # Of two parts: a file of one has no journal.
    downloads = {
        **common,
        "CONNECTOR_ACCESS_TOKEN": walk_archive.grant_download(keys.public),
        "CONNECTOR_PART_SIZE": "131128",
    }
    (folder / "left").write_bytes(PLAIN)
    uploading = uploads | _state_in(folder)
    # Not earlier: what was only announced is not known to be in the box, and is not discarded.
    interrupt(("upload", "left"), uploading, folder, lambda: bool(unfinished_uploads(folder / UPLOADS)))
    made = attrs.evolve(made, downloads=downloads)
    elsewhere = tmp_path_factory.mktemp("download")
    walk_keys.copy_to(elsewhere)
    return attrs.evolve(made, calls=made.interrupt_download(elsewhere))


def _state_in(folder: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(folder / "state")}


async def _uploads(archive: object) -> list[dict[str, str]]:
    from connector.archive import admin

    return await admin.list_files(archive, uploads=True)  # type: ignore[arg-type]


def interrupt(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    folder: Path,
    is_left: Callable[[], bool],
    *,
    first: int = 20,
) -> int:
    """Kill a command as soon as it leaves something; returns after how many calls."""
    for calls in range(first, 2000, 10):
        boundary.run(arguments, environment, folder, None, kill_after=calls)
        if is_left():
            return calls
    raise AssertionError("nothing is left")


def anything(folder: Path, done: bool) -> str:
    return ""


def walks(site: Site, keys: WalkKeys) -> dict[str, Walk]:
    def stored(folder: Path) -> None:
        keys.copy_to(folder)
        site.upload(folder.name)

    def discarded(folder: Path, done: bool) -> str:
        if not done:
            again = boundary.run(("discard", "--all"), {**site.uploads, **_state_in(folder)}, folder, None)
            if again.code != 0:
                return f"a second run fails: {again.err}"
        found = [*(folder / UPLOADS).glob("*.upload"), *(folder / "out").glob("*.part*")]
        # A lock file that cannot be deleted is one of a process that has ended: the next one takes it over.
        left = [path for path in found if ".lock" not in path.name]
        return f"left: {left}" if left else ""

    def listed(*arguments: str) -> Walk:
        return Walk(arguments, site.prepare, anything, site.uploads)

    return {
        "ls": listed("ls"),
        "ls of downloads": Walk(("ls",), site.prepare, anything, site.downloads),
        "status": listed("status"),
        "status --in-box": listed("status", "--in-box"),
        "rm": Walk(("rm", "--yes", "FOLDER"), stored, anything, site.uploads),
        "discard": Walk(("discard", "--all"), site.prepare, discarded, site.uploads),
    }


NAMES = ("ls", "ls of downloads", "status", "status --in-box", "rm", "discard")


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_walk(site: Site, walk_keys: WalkKeys, tmp_path: Path, name: str) -> None:
    walk = walks(site, walk_keys)[name]
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)


LETTERS = b"A line of text.\n" * 10_000


@attrs.frozen
class Pipe(Walk):
    """A command between standard input and standard output; `size` is what it writes."""

    size: int = 0

    def _complaint(self, ended: Ended, folder: Path, case: Case | None) -> str:
        if ended.code == 0 and len(ended.out) != self.size:
            return f"{len(ended.out)} characters of {self.size}"
        return super()._complaint(ended, folder, case)


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_the_whole_walk_of_pipes(walk_keys: WalkKeys, tmp_path: Path, command: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    walk_keys.copy_to(source)
    (source / "a").write_bytes(LETTERS)
    key = ("--recipient-public-key-path", "my.pub")
    assert boundary.run(("encrypt", "a", *key), {"CONNECTOR_CONFIG": "/dev/null"}, source, None).code == 0

    def prepare(folder: Path) -> None:
        walk_keys.copy_to(folder)
        shutil.copy(source / ("a" if command == "encrypt" else "a.c4gh"), folder / GIVEN)

    if command == "decrypt":
        walk: Walk = Pipe(("decrypt", "-", "--my-private-key-path", "my.sec"), prepare, anything, size=len(LETTERS))
    else:
        walk = Walk(("encrypt", "-", *key), prepare, anything)
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)


def test_the_whole_walk_of_the_demonstration(
    walk_keys: WalkKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own calls: those of its uploads, downloads and archive are walked with their commands."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is looked for by each process

    def cleared(folder: Path, done: bool) -> str:
        # Not what `tempfile` tries out the folder with.
        left = [path.name for path in (folder / "tmp").glob("connector-demo-*")]
        return f"left: {left}" if left else ""

    def prepare(folder: Path) -> None:
        (folder / "tmp").mkdir()

    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": "tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    walk = Walk(("demo", "--size", "100kB"), prepare, cleared, environment)
    cases = [case for case in faults_of(walk, tmp_path / "plain") if "/demo" in case.site.file]
    walk_along(walk, cases, tmp_path)
