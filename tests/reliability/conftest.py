"""Scenes for what docs/reliability.md promises, played to ``connector`` as a process.

``scripted`` is an archive in memory that goes wrong as a test asks it to, ``stage`` a real one behind a fault proxy.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

import connector
from connector.crypt4gh.keys import KeyPair
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE
from connector.local.key_files import write_key_pair
from tests.support import boundary
from tests.support.archive_process import ArchiveProcess, served_archive
from tests.support.chaos_stage import Stage, open_stage
from tests.support.fake_archive import FakeArchive
from tests.support.program import Done, Program
from tests.support.served_fake import ServedFake, serving
from tests.support.walk import PLAIN


@attrs.frozen
class Scripted:
    """A user with an archive in memory; ``folder`` is where commands run, keys and state are in it."""

    folder: Path
    keys: KeyPair
    server: ServedFake
    program: Program

    @property
    def archive(self) -> FakeArchive:
        """What the archive holds, and what it is to do wrong."""
        return self.server.archive

    def upload(self, *arguments: object, **environment: str) -> Done:
        """Run ``connector upload``."""
        self.archive.package_type = "upload"
        return self.program.run("upload", *arguments, environment=environment)

    def download(self, *arguments: object, **environment: str) -> Done:
        """Run ``connector download`` into the folder ``out``."""
        self.archive.package_type = "download"
        return self.program.run("download", "--output-dir", self.folder / "out", *arguments, environment=environment)


@contextmanager
def open_scripted(folder: Path) -> Iterator[Scripted]:
    """A user whose archive does what the test says. Parts have two segments, and are tried three times again."""
    keys = write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
    with serving(ServedFake(FakeArchive(keys))) as server:
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": f"{server.url}/wkvs",
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "my.sec"),
            "CONNECTOR_ACCESS_TOKEN": server.archive.access_token,
            "CONNECTOR_PART_SIZE": str(2 * CIPHER_SEGMENT_SIZE),
            "CONNECTOR_RETRIES": "3",
            "CONNECTOR_READ_TIMEOUT": "60",
        }
        yield Scripted(folder, keys, server, Program(folder, settings))


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    """A new user with a new archive for each test."""
    with open_scripted(tmp_path) as scripted:
        yield scripted


@pytest.fixture(scope="module")
def whole_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One real archive for the tests of a module."""
    with open_stage(tmp_path_factory.mktemp("reliability") / "stage") as stage:
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """Real processes behind a fault proxy that does no harm yet."""
    whole_stage.calm()
    yield whole_stage
    whole_stage.calm()


@attrs.frozen
class WalkKeys:
    """A folder with a key pair, `my.sec` and `my.pub`, and `a.c4gh` and `b.c4gh` for it."""

    folder: Path
    public: bytes

    def copy_to(self, folder: Path) -> None:
        """Copy the key pair."""
        for name in ("my.sec", "my.pub"):
            shutil.copy(self.folder / name, folder / name)


@pytest.fixture(scope="module")
def walk_keys(tmp_path_factory: pytest.TempPathFactory) -> WalkKeys:
    """Keys and encrypted files of walks along the boundary, which are forked from here with everything imported."""
    folder = tmp_path_factory.mktemp("keys")
    pair = write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
    for module in pkgutil.walk_packages(connector.__path__, "connector."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    for name in ("a", "b"):
        (folder / name).write_bytes(PLAIN)
    arguments = ("encrypt", "a", "b", "--recipient-public-key-path", "my.pub")
    ended = boundary.run(arguments, {"CONNECTOR_CONFIG": "/dev/null"}, folder, None)
    assert ended.code == 0, ended.err
    return WalkKeys(folder, pair.public)


@pytest.fixture(scope="module")
def walk_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """An archive for walks, with room for any number of uploads that were interrupted."""
    with served_archive(tmp_path_factory.mktemp("archive") / "root", "--open-uploads", "1000000") as archive:
        yield archive
