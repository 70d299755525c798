"""The moments of an upload in which a kill -9 would hurt most, each made on purpose."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from connector.local.files import SourceState
from connector.local.state_folder import StateFolder
from connector.upload.journals import UploadJournals, UploadSource
from tests.support.chaos_stage import MIB
from tests.support.fake_archive import Upload
from tests.support.served_fake import User


@pytest.fixture(params=[1000, 11 * MIB], ids=["one part", "three parts"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "sample.bin"
    path.write_bytes(os.urandom(request.param))
    return path


def announced(user: User, path: Path) -> None:
    """What is on the disk when the archive is asked to create the upload."""
    journals = UploadJournals(StateFolder().uploads, user.archive.user, user.archive.research_box)
    source = UploadSource(path, path.name)
    journals.lock(source).release()
    journals.announce(source, SourceState.of(path.stat()))


def created(user: User, path: Path, size: int) -> None:
    """What is in the box once it has done so."""
    upload = Upload(uuid4(), {"alias": path.name, "decrypted_size": size, "encrypted_size": size, "part_size": 5 * MIB})
    user.archive.uploads[upload.id] = upload


def test_before_the_archive_heard_of_it(user: User, path: Path) -> None:
    announced(user, path)
    said = user.upload(path)
    assert said.code == 0, said.err
    assert user.archive.opened("sample.bin") == path.read_bytes()


def test_after_the_creation_before_its_answer_was_written_down(user: User, path: Path) -> None:
    announced(user, path)
    created(user, path, path.stat().st_size)
    said = user.upload(path)
    assert said.code == 0, said.err
    assert user.archive.opened("sample.bin") == path.read_bytes()
    assert [upload.state for upload in user.archive.uploads.values()].count("inbox") == 1


def test_what_is_not_ours_stays(user: User, path: Path) -> None:
    """Another file under the same alias, begun by somebody else meanwhile: that is a conflict."""
    announced(user, path)
    created(user, path, path.stat().st_size + 1)
    said = user.upload(path)
    assert said.code == 4, said.err
    assert "connector discard --in-box sample.bin" in said.err
    assert [upload.state for upload in user.archive.uploads.values()] == ["init"]


def test_after_the_completion_before_its_answer_was_heard(user: User, path: Path) -> None:
    user.archive.cut("complete", times=100, after=True)
    assert user.upload(path, CONNECTOR_RETRIES="0").code == 5
    user.archive.heal()
    before = user.archive.counts["put"]
    said = user.upload(path)
    if path.stat().st_size > 5 * MIB:
        assert said.code == 0, said.err
        assert user.archive.counts["put"] == before, "nothing was sent again"
    assert [upload.state for upload in user.archive.uploads.values() if upload.state != "cancelled"] == ["inbox"]
    assert user.archive.opened("sample.bin") == path.read_bytes()


def test_nothing_is_left_behind(user: User, path: Path) -> None:
    assert user.upload(path).code == 0
    assert list(StateFolder().uploads.iterdir()) == []
