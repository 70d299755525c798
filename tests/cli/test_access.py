"""Uploads that are open in the box though this machine knows nothing of them: seen, and given up by name only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import attrs
import httpx
import pytest

from connector.local.journal import JournalFile
from connector.upload.states import ANNOUNCED_KIND
from tests.support.command_line import CommandLine
from tests.support.contract_client import ContractClient
from tests.support.served_archive import SET_UPS, MakeArchive


@attrs.frozen
class Stand:
    """A user, the token of a box, and whoever began uploads into it on another machine."""

    user: CommandLine
    token: str
    other: ContractClient

    def begin(self, *aliases: str) -> None:
        """Open uploads that nobody goes on with."""
        sealed = self.other.seal(b"x" * 1000)
        for alias in aliases:
            assert self.other.create(alias, sealed).status_code == 201

    def states(self) -> dict[str, str]:
        """The uploads of the box."""
        return {item["alias"]: item["state"] for item in self.other.list_uploads().json()["items"]}


@pytest.fixture(params=SET_UPS)
def stand(request: pytest.FixtureRequest, make_archive: MakeArchive, tmp_path: Path) -> Iterator[Stand]:
    with make_archive(request.param) as archive, httpx.Client() as http:
        user = CommandLine.of(archive, tmp_path / "user")
        token = archive.grant_upload(user.keys.public)
        yield Stand(user, token, ContractClient(archive.wkvs_url, token, user.keys.private, http))


def test_a_full_box_is_looked_into_and_made_room_in(stand: Stand) -> None:
    stand.begin("b", "a", "c", "d", "e")
    (stand.user.folder / "mine.bin").write_bytes(b"y" * 5000)

    assert stand.user.run("status").stdout == "", "of this machine nothing is unfinished"
    seen = stand.user.run("status", "--in-box", token=stand.token)
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.splitlines() == [f"in box    {alias}: open, 1.00 kB, started elsewhere" for alias in "abcde"]
    rows = [
        json.loads(line)
        for line in stand.user.run("status", "--in-box", "--json", token=stand.token).stdout.splitlines()
    ]
    assert [(row["kind"], row["name"], row["size"]) for row in rows] == [("in box", alias, 1000) for alias in "abcde"]

    gone = stand.user.run("discard", "--in-box", "a", "c", token=stand.token)
    assert gone.returncode == 0, gone.stderr
    assert gone.stderr.splitlines() == ["a: discarded", "c: discarded", "2 of 2 files discarded."]
    assert stand.user.run("upload", "mine.bin", token=stand.token).returncode == 0
    states = stand.states()
    assert {alias: states[alias] for alias in "abcde"} == {
        "a": "cancelled",
        "b": "init",
        "c": "cancelled",
        "d": "init",
        "e": "init",
    }


def test_what_a_run_of_this_machine_announced_and_never_heard_of_is_told_apart(stand: Stand) -> None:
    stand.begin("mine.bin", "theirs.bin")
    folder = stand.user.folder / "state" / "connector" / "uploads"
    folder.mkdir(parents=True)
    for alias, size in (("mine.bin", 1000), ("theirs.bin", 999)):
        facts = {"box": str(UUID(int=1)), "alias": alias, "size": size}
        JournalFile.begin(folder / f"{alias}.upload", ANNOUNCED_KIND, facts, lasting=False).close()
    seen = stand.user.run("status", "--in-box", token=stand.token)
    assert seen.stdout.splitlines() == [
        "in box    mine.bin: open, 1.00 kB, announced from here, without a response; upload it again",
        "in box    theirs.bin: open, 1.00 kB, started elsewhere",
    ]


def test_what_was_begun_elsewhere_is_not_discarded_by_mistake(stand: Stand) -> None:
    stand.begin("a", "b")
    plain = stand.user.run("discard", "a", token=stand.token)
    assert plain.returncode == 2
    assert "unfinished" in plain.stderr
    assert "--in-box" in plain.stderr
    everything = stand.user.run("discard", "--all", "--in-box", token=stand.token)
    assert everything.returncode == 2
    assert "--in-box" in everything.stderr
    both = stand.user.run("discard", "--all", "a", token=stand.token)
    assert both.returncode == 2
    assert "contradict" in both.stderr
    mistyped = stand.user.run("discard", "--in-box", "a", "z", token=stand.token)
    assert mistyped.returncode == 2
    assert "called z" in mistyped.stderr
    assert stand.states() == {"a": "init", "b": "init"}


def test_a_local_download_is_discarded_whatever_the_archive_says(stand: Stand) -> None:
    journal = stand.user.folder / "sample.c4gh.part.journal"
    JournalFile.begin(journal, "download", {"accession": "GHGAF1"}, lasting=False).close()
    done = stand.user.run("discard", "--in-box", "GHGAF1", "z", token=stand.token)
    assert done.returncode == 2
    assert "GHGAF1: discarded" in done.stderr
    assert "called z" in done.stderr
    assert not journal.exists()


def test_status_asks_for_key_and_token_only_to_look_into_the_box(stand: Stand) -> None:
    assert stand.user.run("status").returncode == 0
    done = stand.user.run("status", "--in-box")
    assert done.returncode == 2
    assert "access token" in done.stderr
