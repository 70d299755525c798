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

from connector.local.key_files import write_key_pair
from tests.reliability import (
    test_boundary_archive,
    test_boundary_commands,
    test_boundary_services,
    test_boundary_transfers,
)
from tests.reliability.conftest import WalkKeys
from tests.reliability.test_surroundings import commands
from tests.support import boundary
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

    def sealed_by_a_phrase(folder: Path) -> None:
        made = keys.folder / "phrase"
        if not made.exists():  # it takes longer than a case
            made.mkdir()
            make_key_with_a_phrase(made)
        shutil.copytree(made, folder, dirs_exist_ok=True)

    def make_key_with_a_phrase(folder: Path) -> None:
        pair = write_key_pair(folder / "my.sec", folder / "my.pub", passphrase="phrase")
        (folder / "phrase").write_text("phrase")
        (folder / "a").write_bytes(PLAIN)
        public = ("--recipient-public-key-path", "my.pub")
        ended = boundary.run(("encrypt", "a", *public), {"CONNECTOR_CONFIG": os.devnull}, folder, None)
        assert (ended.code, len(pair.public)) == (0, 32), ended.err

    own = ("--my-private-key-path", "my.sec")
    return {
        "keygen": Walk(("keygen", "--sk", "new.sec", "--pk", "new.pub", "--nocrypt"), lambda folder: None, pair),
        "encrypt": Walk(("encrypt", "a", "b", "--recipient-public-key-path", "my.pub", *own), sources, encrypted),
        "decrypt": Walk(("decrypt", "--input-dir", ".", "--output-dir", "out", *own), sealed, decrypted),
        "status": Walk(("status",), lambda folder: None, lambda folder, done: ""),
        "keygen, with a passphrase": Walk(
            ("keygen", "--sk", "new.sec", "--pk", "new.pub"), lambda folder: None, pair, {"CONNECTOR_PASSPHRASE": "x"}
        ),
        "decrypt, with a passphrase": Walk(
            ("decrypt", "a.c4gh", "--json", "--output-dir", "out", "--passphrase-file", "phrase", *own),
            sealed_by_a_phrase,
            lambda folder, done: part_made(folder / "out", {"a": PLAIN}),
        ),
    }


LOCAL = ("keygen", "encrypt", "decrypt", "status")
WITH_PASSPHRASES = ("keygen, with a passphrase", "decrypt, with a passphrase")


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


def test_every_command_is_walked() -> None:
    of_archives = [*test_boundary_archive.ALL, test_boundary_services.SERVE[1], test_boundary_services.WORK[1]]
    walked = [
        *LOCAL,
        *test_boundary_commands.NAMES,
        *test_boundary_transfers.WALKS,
        "demo",
        *(f"archive {name}" for name in of_archives),
    ]
    names = [" ".join(path) for path, _ in commands()]
    assert len(names) > 20
    assert [name for name in names if not any(f"{one} ".startswith(f"{name} ") for one in walked)] == []


@pytest.mark.soak
@pytest.mark.parametrize("name", [*LOCAL, *WITH_PASSPHRASES])
def test_the_whole_walk(walk_keys: WalkKeys, tmp_path: Path, name: str) -> None:
    walk = local_walks(walk_keys)[name]
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)
