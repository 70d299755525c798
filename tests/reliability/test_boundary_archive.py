"""The walk along the boundary of the commands that administer an archive: whatever fails, the archive is whole."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tarfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from connector.archive.assembly import Archive
from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import read_private_key
from tests.reliability.conftest import WalkKeys
from tests.support.archive_process import ArchiveProcess
from tests.support.walk import Walk, faults_of, walk_along
from tests.support.walked_archive import SETTINGS, WalkedArchive, faults_left, make_archive, run_steward

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux")

SAMPLE = 20
FIRST_VERSION = Path(__file__).parents[1] / "archive" / "samples" / "archive-39688d6.tar.gz"
PREPARED: dict[str, Callable[[WalkedArchive], tuple[str, ...]]] = {
    "files": lambda made: ("files", "--uploads"),
    "boxes": lambda made: ("boxes",),
    "grants": lambda made: ("grants",),
    "jobs": lambda made: ("jobs", "--all"),
    "keys": lambda made: ("keys",),
    "check": lambda made: ("check",),
    "grant upload": lambda made: ("grant", "upload", "--public-key", "my.pub"),
    "grant download": lambda made: ("grant", "download", "--all", "--public-key", "my.pub"),
    "revoke": lambda made: ("revoke", made.grant),
    "lock": lambda made: ("lock", made.open_box),
    "unlock": lambda made: ("unlock", made.locked_box),
    "archive-box": lambda made: ("archive-box", made.locked_box),
    "rotate-key master": lambda made: ("rotate-key", "master"),
    "rotate-key signing": lambda made: ("rotate-key", "signing"),
    "rotate-key hub": lambda made: ("rotate-key", "hub"),
    "rotate-key url": lambda made: ("rotate-key", "url"),
    "remove-key": lambda made: ("remove-key", "--force", made.old_key),
}
"""The arguments of the commands that begin with such an archive."""
LISTINGS = ("files", "boxes", "grants", "jobs", "keys", "check")
ALL = (*PREPARED, "check --repair", "jobs retry", "upgrade", "grant upload, new archive")


@pytest.fixture(scope="module")
def made(walk_keys: WalkKeys, tmp_path_factory: pytest.TempPathFactory) -> WalkedArchive:
    private = read_private_key(walk_keys.folder / "my.sec", str)
    return make_archive(tmp_path_factory.mktemp("template") / "arch", KeyPair.of(private))


def walk_of(name: str, made: WalkedArchive, keys: WalkKeys) -> Walk:
    def prepare(folder: Path) -> None:
        keys.copy_to(folder)
        made.copy_to(folder)

    def whole(folder: Path, done: bool) -> str:
        # What a master key that is rotated no longer seals is sealed again by the next try, or by this.
        return "" if name in LISTINGS else faults_left(folder, *(["--repair"] if "master" in name else []))

    if name == "upgrade":
        return Walk(("archive", "upgrade", "--root", "arch"), _first_version, _upgraded)
    if name == "check --repair":
        planted = partial(_with, _nobodys_object, prepare)
        return Walk(("archive", "check", "--repair", "--root", "arch"), planted, _repaired, SETTINGS)
    if name == "jobs retry":
        planted = partial(_with, _job_set_aside, prepare)
        return Walk(("archive", "jobs", "retry", "--root", "arch"), planted, _tried_again, SETTINGS)
    if name == "grant upload, new archive":
        arguments = ("archive", "grant", "upload", "--public-key", "my.pub", "--root", "arch")
        return Walk(arguments, keys.copy_to, _begun)
    return Walk(("archive", *PREPARED[name](made), "--root", "arch"), prepare, whole, SETTINGS)


def _first_version(folder: Path) -> None:
    with tarfile.open(FIRST_VERSION) as archived:
        archived.extractall(folder, filter="data")
    (folder / "archive").rename(folder / "arch")


def _upgraded(folder: Path, done: bool) -> str:
    again = run_steward(folder, "upgrade")
    return faults_left(folder) if again.code == 0 else f"a second run fails: {again.err}"


def _with(planted: Callable[[Archive], Awaitable[None]], prepare: Callable[[Path], None], folder: Path) -> None:
    prepare(folder)
    ArchiveProcess(folder / "arch", "", None).administer(planted)  # type: ignore[arg-type]


async def _nobodys_object(archive: Archive) -> None:
    hub = archive.hubs.default
    file = await archive.database.files.find_one({})
    assert file is not None
    await hub.storage.put_object(hub.buckets.permanent, f"{file.file_id}.1", b"nobody's")


async def _job_set_aside(archive: Archive) -> None:
    (job,) = [job for job in await archive.jobs.find_all() if job.kind == "expire"]
    await archive.database.jobs.compare_and_set(job.id, expected={}, changes={"due": None, "attempts": 12})


def _repaired(folder: Path, done: bool) -> str:
    return faults_left(folder) if done else faults_left(folder, "--repair")


def _tried_again(folder: Path, done: bool) -> str:
    if not done:
        again = run_steward(folder, "jobs", "retry")
        assert again.code == 0, again.err
    return faults_left(folder)


def _begun(folder: Path, done: bool) -> str:
    """A second try makes what is missing of an archive that was begun."""
    again = run_steward(folder, "grant", "upload", "--public-key", "my.pub")
    return faults_left(folder) if again.code == 0 else f"a second run fails: {again.err}"


def test_a_sample_of_the_faults_of_stewards(made: WalkedArchive, walk_keys: WalkKeys, tmp_path: Path) -> None:
    walk = walk_of("grant upload", made, walk_keys)
    cases = faults_of(walk, tmp_path / "plain")
    walk_along(walk, random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, SAMPLE), tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", ALL)
def test_the_whole_walk_of_stewards(made: WalkedArchive, walk_keys: WalkKeys, tmp_path: Path, name: str) -> None:
    walk = walk_of(name, made, walk_keys)
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)
