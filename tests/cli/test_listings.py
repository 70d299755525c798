"""`ls`, `rm`, `discard` and `status`: what they say of what a session finds; the session is a fake."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.cli.commands.ls import ago
from connector.clients.api_transport import TokenRefusedError
from connector.errors import ConnectorError, RefusedError
from connector.local.journal import encode_record
from connector.local.key_files import write_key_pair
from connector.local.state_folder import StateFolder
from connector.local.targets import OutputFolders
from connector.transfer.reporting import Outcome
from connector.upload.listing import UNKNOWN, ListedFile
from tests.support.desk import Desk, ScriptedInput

TOKEN = "package-1:" + "Ab0/" * 20


@attrs.define
class FakeBox:
    """A session whose box holds these files; finding one of another name is the error `missing`."""

    files: list[ListedFile] = attrs.field(factory=list)
    missing: ConnectorError = attrs.field(factory=lambda: RefusedError("There is no such upload."))
    removed: list[str] = attrs.field(factory=list)

    @asynccontextmanager
    async def open_session(self, *_: Any, **__: Any) -> AsyncIterator[FakeBox]:
        yield self

    async def list_files(self) -> AsyncIterator[ListedFile]:
        for file in self.files:
            yield file

    async def find_uploads(self, aliases: Sequence[str]) -> list[Outcome[ListedFile]]:
        found = {file.name: file for file in self.files}
        return [Outcome(name, found.get(name), None if name in found else self.missing) for name in aliases]

    async def discard_uploads(self, unfinished: Sequence[Any]) -> list[Outcome[ListedFile]]:
        assert not unfinished, "there are no journals here"
        return []

    async def remove(self, uploads: Sequence[ListedFile]) -> list[Outcome[ListedFile]]:
        self.removed += [upload.name for upload in uploads]
        return [Outcome(upload.name, upload) for upload in uploads]


@pytest.fixture
def box() -> FakeBox:
    return FakeBox()


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def desk_of(box: FakeBox, state: StateFolder, stdin: ScriptedInput | None = None) -> Desk:
    folder = state.path.parent
    if not (folder / "my.sec").exists():
        write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
    environment = {
        "CONNECTOR_ACCESS_TOKEN": TOKEN,
        "CONNECTOR_WKVS_URL": "https://archive.example/.well-known",
        "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "my.sec"),
    }
    open_session: Any = box.open_session
    return Desk(open_session=open_session, state_folder=state.path, environment=environment, stdin=stdin)


@pytest.fixture
def desk(box: FakeBox, state: StateFolder) -> Desk:
    return desk_of(box, state)


def upload(name: str, state: str = "init", **facts: Any) -> ListedFile:
    return ListedFile("upload", name, name, size=5_000, state=state, **facts)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (200_000, "2 d")],
)
def test_times_that_have_passed_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_an_empty_package_is_said_to_be_empty(desk: Desk) -> None:
    assert desk.run("ls") == 0
    assert "no files" in desk.said
    assert desk.out.getvalue() == ""


def test_uploads_are_listed_with_state_size_age_and_reason(desk: Desk, box: FakeBox) -> None:
    hours = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    box.files = [upload("a.bam", "failed", failure_reason="wrong sha256", state_updated=hours), upload("b.bam")]
    assert desk.run("ls") == 0
    first, second = desk.out.getvalue().splitlines()
    assert first.split() == ["failed", "5.00", "kB", "3", "h", "a.bam:", "wrong", "sha256"]
    assert second.split() == ["init", "5.00", "kB", "unknown", "b.bam"]


def test_of_downloads_states_are_not_asked_for(desk: Desk, box: FakeBox) -> None:
    box.files = [ListedFile("download", "GHGAF1", "GHGAF1.bam")]
    assert desk.run("ls") == 0
    assert desk.out.getvalue().split()[-2:] == ["GHGAF1", "GHGAF1.bam"]
    assert "not requested" in desk.said


@pytest.mark.parametrize(
    ("answer", "code", "removed"), [("y", 0, ["a"]), ("Yes ", 0, ["a"]), ("n", 2, []), ("", 2, [])]
)
def test_what_is_removed_is_asked_for(
    box: FakeBox, state: StateFolder, answer: str, code: int, removed: list[str]
) -> None:
    box.files = [upload("a", "interrogated")]
    desk = desk_of(box, state, ScriptedInput("terminal", [answer]))
    assert desk.run("rm", "a") == code
    assert box.removed == removed
    assert "interrogated, 5.00 kB" in desk.said


def test_nothing_is_asked_where_there_is_nothing_to_remove(box: FakeBox, state: StateFolder) -> None:
    desk = desk_of(box, state, ScriptedInput("terminal", []))
    assert desk.run("rm", "a") == RefusedError.exit_code
    assert "[y/N]" not in desk.said


def test_nothing_is_unfinished(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("discard", "--all", "--output-dir", tmp_path) == 0
    assert "Nothing is unfinished" in desk.said
    assert str(tmp_path) in desk.said


def test_open_uploads_of_others_are_discarded_by_name(desk: Desk, box: FakeBox, tmp_path: Path) -> None:
    box.files = [upload("a"), upload("b")]
    assert desk.run("discard", "--in-box", "a", "--output-dir", tmp_path) == 0
    assert box.removed == ["a"]


@pytest.mark.parametrize(
    ("found", "missing", "code", "keyword"),
    [
        (upload("a", "interrogated"), None, 2, "connector rm"),
        (upload("a", UNKNOWN), None, 4, "connector rm a"),
        (upload("other"), None, 2, "status --in-box"),
        (upload("other"), TokenRefusedError("The token has expired."), 4, "expired"),
    ],
)
def test_what_is_not_open_is_not_discarded(
    desk: Desk, box: FakeBox, tmp_path: Path, found: ListedFile, missing: ConnectorError | None, code: int, keyword: str
) -> None:
    box.files, box.missing = [found], missing or box.missing
    assert desk.run("discard", "--in-box", "a", "--output-dir", tmp_path) == code
    assert keyword in desk.said
    assert box.removed == []


def test_recorded_folders_are_looked_into_once_and_those_of_other_machines_named(
    desk: Desk, state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        OutputFolders(state.outputs).add(folder)
    record = encode_record({"folder": "/scratch/of/node7", "host": "node7"})
    (state.outputs / "node7.output").write_bytes(record)
    monkeypatch.chdir(here)
    assert desk.run("status") == 0
    assert desk.said.count(str(here)) == 1
    assert desk.said.count(str(there)) == 1
    assert "/scratch/of/node7 of node7" in desk.said


@pytest.mark.skipif(sys.platform == "win32", reason="the current folder cannot be removed there")
def test_without_the_current_folder_the_others_are_looked_into(
    desk: Desk, state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    OutputFolders(state.outputs).add(there)
    monkeypatch.chdir(here)
    here.rmdir()
    assert desk.run("status") == 0
    assert "the current folder" in desk.said
    assert str(there) in desk.said
    assert desk.run("discard", "--all") == 3
