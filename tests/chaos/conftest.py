from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.local.key_files import write_key_pair
from tests.support.chaos_stage import Stage, open_stage
from tests.support.fake_archive import FakeArchive
from tests.support.served_fake import ServedFake, User, serving


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A user at a command line in this process, and an archive in memory on a real socket."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = write_key_pair(tmp_path / "u.sec", tmp_path / "u.pub", passphrase=None)
    with serving(ServedFake(FakeArchive(keys))) as server:
        yield User(tmp_path, server)


@pytest.fixture
def data(user: User) -> bytes:
    """The plaintext of GHGAF01, which has five and a half parts."""
    plaintext = random.Random(7).randbytes(int(5.5 * user.PLAIN))
    user.archive.add_file("GHGAF01", plaintext)
    return plaintext


@pytest.fixture(scope="session")
def whole_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chaos") / "stage") as stage:
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """Real processes behind a fault proxy that does no harm yet."""
    whole_stage.calm()
    yield whole_stage
    whole_stage.calm()
