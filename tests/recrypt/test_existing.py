"""Results that are there already: left alone where they are the right ones, refused where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.errors import FileExistsAlready, UsageError
from connector.recrypt import RecryptedFile, RecryptRequest, decrypt_files, encrypt_files
from connector.transfer import Outcome

pytestmark = pytest.mark.trio

ALICE, BOB, EVE = (KeyPair.of(bytes([n]) * 32) for n in (1, 2, 3))


@attrs.frozen
class Desk:
    """Somebody who encrypts or decrypts the same file again and again."""

    folder: Path
    kind: str

    @property
    def source(self) -> Path:
        return self.folder / ("plain" if self.kind == "encrypt" else "sealed")

    @property
    def target(self) -> Path:
        return self.folder / "result"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    async def make(
        self, source: Path | None = None, *, recipient: KeyPair = BOB, overwrite: bool = False
    ) -> Outcome[RecryptedFile]:
        request = RecryptRequest(source or self.source, self.target)
        settings, state = Settings(), self.state
        outcome: Outcome[RecryptedFile]
        if self.kind == "encrypt":
            (outcome,) = await encrypt_files(
                settings, ALICE.private, [recipient.public], [request], overwrite=overwrite, state_folder=state
            )
        else:
            (outcome,) = await decrypt_files(settings, BOB.private, [request], overwrite=overwrite, state_folder=state)
        return outcome

    def touch(self, path: Path) -> None:
        os.utime(path, ns=(1, 1))


@pytest.fixture(params=["encrypt", "decrypt"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    (tmp_path / "plain").write_bytes(b"abc" * 100_000)
    requests = [RecryptRequest(tmp_path / "plain", tmp_path / "sealed")]
    (outcome,) = await encrypt_files(Settings(), ALICE.private, [BOB.public], requests, state_folder=tmp_path / "other")
    assert outcome.ok
    return Desk(tmp_path, request.param)


async def test_what_was_made_of_the_same_is_left_alone(desk: Desk) -> None:
    first = (await desk.make()).unwrap()
    inode = desk.target.stat().st_ino
    for overwrite in (False, True):
        again = (await desk.make(overwrite=overwrite)).unwrap()
        assert (first.already_there, again.already_there) == (None, "record")
        assert again.size == first.size == desk.target.stat().st_size
    assert desk.target.stat().st_ino == inode


async def test_without_a_note_the_size_is_compared(desk: Desk) -> None:
    assert (await desk.make()).ok
    for path in (desk.state / "finished").iterdir():
        path.unlink()
    assert (await desk.make()).unwrap().already_there == "size"
    assert (await desk.make(overwrite=True)).unwrap().already_there is None
    with desk.target.open("ab") as file:
        file.write(b"x")
    assert isinstance((await desk.make()).error, FileExistsAlready)


async def test_a_result_that_was_touched_is_compared_by_size(desk: Desk) -> None:
    assert (await desk.make()).ok
    os.utime(desk.target)
    assert (await desk.make()).unwrap().already_there == "size"


async def test_two_results_that_are_one_on_a_file_system_without_case_are_told(tmp_path: Path) -> None:
    """The second one was "there already": it had the size of the first one. A link plays that file system."""
    for name in ("x", "Y"):
        (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "Sealed").touch()
    os.link(tmp_path / "Sealed", tmp_path / "sealed")
    requests = [
        RecryptRequest(tmp_path / "x", tmp_path / "Sealed"),
        RecryptRequest(tmp_path / "Y", tmp_path / "sealed"),
    ]
    outcomes = await encrypt_files(Settings(), ALICE.private, [BOB.public], requests, state_folder=tmp_path / "state")
    assert [isinstance(outcome.error, UsageError) for outcome in outcomes] == [True, True]
    os.unlink(tmp_path / "Sealed")
    os.unlink(tmp_path / "sealed")
    outcomes = await encrypt_files(Settings(), ALICE.private, [BOB.public], requests, state_folder=tmp_path / "state")
    assert [outcome.ok for outcome in outcomes] == [True, True]


async def test_without_a_note_a_result_that_is_older_than_its_source_is_not_taken(desk: Desk) -> None:
    """The source may have other content of the same size by now; in a container, there are no notes."""
    assert (await desk.make()).ok
    desk.touch(desk.target)
    assert isinstance((await desk.make()).error, FileExistsAlready)
    assert (await desk.make(overwrite=True)).unwrap().already_there is None


async def test_a_source_that_changed_since_is_noticed(desk: Desk) -> None:
    assert (await desk.make()).ok
    desk.touch(desk.source)
    error = (await desk.make()).error
    assert isinstance(error, FileExistsAlready)
    assert error.exit_code == 3
    assert (await desk.make(overwrite=True)).unwrap().already_there is None


async def test_another_source_of_the_same_size_is_noticed(desk: Desk) -> None:
    assert (await desk.make()).ok
    other = desk.folder / "other source"
    other.write_bytes(desk.source.read_bytes())
    assert isinstance((await desk.make(other)).error, FileExistsAlready)


async def test_what_was_encrypted_for_others_is_noticed(desk: Desk) -> None:
    assert (await desk.make()).ok
    error = (await desk.make(recipient=EVE)).error
    assert isinstance(error, FileExistsAlready) == (desk.kind == "encrypt")
    again = (await desk.make(recipient=EVE, overwrite=True)).unwrap()
    assert again.already_there == (None if desk.kind == "encrypt" else "record")
