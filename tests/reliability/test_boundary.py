"""The walk along the boundary: each command with each fault at each of its calls into the system.

What is called is found by watching the command (`tests.support.walk`), so a new call is walked without a change here. A
sample runs in all runs of the tests; the whole walk, some thousands of processes, with `nox -s soak`.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.reliability.conftest import WalkKeys
from tests.support.archive_process import ArchiveProcess, served_archive
from tests.support.walk import PLAIN, Walk, faults_of, walk_along

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux")

SAMPLE = 25
"""Cases of each local command in all runs of the tests."""


def plain_files(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).write_bytes(PLAIN)


def part_made(folder: Path, names: Mapping[str, bytes]) -> str:
    """Files of these names are whole or not there."""
    return " ".join(f"{name} is half-made" for name, data in names.items() if differs(folder / name, data))


def differs(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


def local_walks(keys: WalkKeys) -> dict[str, Walk]:
    def sources(folder: Path) -> None:
        keys.copy_to(folder)
        plain_files(folder)

    def sealed(folder: Path) -> None:
        keys.copy_to(folder)
        for name in ("a.c4gh", "b.c4gh"):
            shutil.copy(keys.folder / name, folder / name)

    def encrypted(folder: Path, done: bool) -> str:
        found = {path.name: path.stat().st_size for path in folder.glob("*.c4gh")}
        size = (keys.folder / "a.c4gh").stat().st_size
        if done and len(found) != 2:
            return "a result is missing"
        return " ".join(f"{name} is half-made" for name, made in found.items() if made != size)

    def decrypted(folder: Path, done: bool) -> str:
        if done and not ((folder / "out" / "a").exists() and (folder / "out" / "b").exists()):
            return "a result is missing"
        return part_made(folder / "out", {"a": PLAIN, "b": PLAIN})

    def pair(folder: Path, done: bool) -> str:
        found = sorted(path.name for path in folder.glob("new.*"))
        both = ["new.pub", "new.sec"]
        return "" if found == both or not (found or done) else f"left: {found}"

    own = ("--my-private-key-path", "my.sec")
    return {
        "keygen": Walk(("keygen", "--sk", "new.sec", "--pk", "new.pub", "--nocrypt"), lambda folder: None, pair),
        "encrypt": Walk(("encrypt", "a", "b", "--recipient-public-key-path", "my.pub", *own), sources, encrypted),
        "decrypt": Walk(("decrypt", "--input-dir", ".", "--output-dir", "out", *own), sealed, decrypted),
        "status": Walk(("status",), lambda folder: None, lambda folder, done: ""),
    }


@pytest.fixture(scope="module")
def archive_walks(
    walk_keys: WalkKeys, walk_archive: ArchiveProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Walk]:
    """The walks of commands that administer the folder of an archive, or only list what one has."""
    template = tmp_path_factory.mktemp("template") / "arch"
    with served_archive(template) as another:
        another.grant_upload(walk_keys.public)

    def administered(folder: Path) -> None:
        walk_keys.copy_to(folder)
        shutil.copytree(template, folder / "arch")

    def anything(folder: Path, done: bool) -> str:
        return ""

    grant = ("archive", "grant", "upload", "--root", "arch", "--public-key", "my.pub")
    listing = {
        "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
        "CONNECTOR_WKVS_URL": walk_archive.wkvs_url,
        "CONNECTOR_RETRIES": "0",
        "CONNECTOR_ACCESS_TOKEN": walk_archive.grant_upload(walk_keys.public),
    }
    return {
        "archive files": Walk(("archive", "files", "--root", "arch"), administered, anything),
        "archive boxes": Walk(("archive", "boxes", "--root", "arch"), administered, anything),
        "archive grant": Walk(grant, administered, anything),
        "ls": Walk(("ls",), walk_keys.copy_to, anything, listing),
    }


LOCAL = ("keygen", "encrypt", "decrypt", "status")


@pytest.mark.parametrize("name", LOCAL)
def test_a_sample_of_the_faults_of_local_commands(walk_keys: WalkKeys, tmp_path: Path, name: str) -> None:
    walk = local_walks(walk_keys)[name]
    cases = faults_of(walk, tmp_path / "plain")
    sample = random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, min(SAMPLE, len(cases)))
    walk_along(walk, sample, tmp_path)


PLANTED = """
import os

def planted(function):
    def call(*arguments, **options):
        try:
            os.stat("/")
        except OSError:
            raise KeyError("planted")
        return function(*arguments, **options)

    return call
"""


def test_a_new_call_with_an_exception_that_nothing_catches_fails_the_walk(walk_keys: WalkKeys, tmp_path: Path) -> None:
    import connector
    from connector.cli import main

    names: dict[str, Callable[[Any], Any]] = {}
    file = str(Path(connector.__file__).with_name("planted.py"))
    exec(compile(PLANTED, file, "exec"), names)
    walk = attrs.evolve(local_walks(walk_keys)["status"], program=names["planted"](main))
    cases = [case for case in faults_of(walk, tmp_path / "plain") if case.site.file.endswith("planted.py")]
    assert len(cases) > 10
    with pytest.raises(AssertionError, match=r"planted.py:\d+ posix.stat EIO: exit code 1"):
        walk_along(walk, cases, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", [*LOCAL, "ls", "archive files", "archive boxes", "archive grant"])
def test_the_whole_walk(walk_keys: WalkKeys, tmp_path: Path, name: str, archive_walks: dict[str, Walk]) -> None:
    walk = {**local_walks(walk_keys), **archive_walks}[name]
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)
