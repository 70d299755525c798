"""What names, answers and stored texts do to a terminal: nothing, in any command; and none makes a line of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.jobs import new_job
from connector.cli.console import neutralised
from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support.archive_process import ArchiveProcess, run_cli
from tests.support.fake_archive import FakeArchive, Upload
from tests.support.served_fake import Said, ServedFake, User, serving
from tests.support.stored_upload import stored_upload

EVIL = "a\x1b[2J\r\x9b31m\u202e\x07\u2028b\nall is well"
"""Clears the screen, turns colours and directions, rings, and claims a line."""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    keys = write_key_pair(tmp_path / "u.sec", tmp_path / "u.pub", passphrase=None)
    with serving(ServedFake(FakeArchive(keys))) as server:
        yield User(tmp_path, server)


def is_calm(text: str) -> bool:
    """Whether nothing in a text acts on a terminal, and no line of it is one of ours."""
    lines = text.split("\n")
    return lines == list(map(neutralised, lines)) and not any(line.startswith("all is well") for line in lines)


def check(said: Said) -> None:
    assert is_calm(said.out + said.err), said
    assert said.code != 1, said


def test_names_and_reasons_in_a_box(user: User) -> None:
    (user.folder / "x").write_bytes(b"x")
    check(user.upload("x", "--alias", EVIL))  # is refused
    for alias in ("one", "two"):
        check(user.upload("x", "--alias", alias))
        upload = user.archive.upload_of(alias)
        upload.state, upload.failure_reason = "failed", f"because {EVIL}"
    upload.announced["alias"] = EVIL
    listed = user.run("ls")
    assert len(listed.out.splitlines()) == 2
    check(listed)
    check(user.run("ls", "--json"))
    check(user.run("rm", EVIL, "--yes"))
    check(user.run("rm", f"{EVIL}?", "--yes"))


def test_what_was_left_under_such_names(user: User) -> None:
    name = EVIL.replace("\n", "")
    (user.folder / name).write_bytes(b"x" * 6_000_000)
    user.archive.cut("put", times=10)
    check(user.upload(name, "--alias", "x", CONNECTOR_RETRIES="0", CONNECTOR_PART_SIZE="5MiB"))
    user.archive.heal()
    user.archive.uploads[uuid4()] = Upload(uuid4(), {**user.archive.upload_of("x").announced, "alias": EVIL})
    for words in (("status",), ("status", "--in-box"), ("status", "--json"), ("discard", f"{EVIL}?")):
        check(user.run(*words))
    check(user.run("discard", EVIL, "--in-box"))
    user.archive.add_file(EVIL, b"x" * user.PLAIN * 3, extension=EVIL)
    user.archive.cut("get", times=10)
    check(user.download(CONNECTOR_RETRIES="0"))
    user.archive.heal()
    check(user.run("status"))
    check(user.run("discard", "--all"))
    check(user.download())
    check(user.run("ls"))


@pytest.mark.parametrize("kind", ["values", "package", "order", "object", "envelope", "get", "create", "put", "list"])
@pytest.mark.parametrize("status", [400, 403, 500])
def test_answers(user: User, kind: str, status: int) -> None:
    (user.folder / "x").write_bytes(b"x")
    user.archive.add_file("GHGAF1", b"x")
    body = {"exception_id": EVIL, "description": EVIL, "detail": EVIL, "data": {EVIL: EVIL}}
    user.archive.fail(kind, status, body, times=100)
    for said in (user.download(CONNECTOR_RETRIES="0"), user.upload("x", CONNECTOR_RETRIES="0"), user.run("ls")):
        check(said)


def test_stored_texts_of_an_archive(tmp_path: Path) -> None:
    keys = KeyPair.of(os.urandom(32))
    root = ("--root", str(tmp_path / "arch"))
    process = ArchiveProcess(tmp_path / "arch", "", None)  # type: ignore[arg-type]

    async def fill(archive: Archive) -> str:
        granted = await admin.grant_upload(archive, keys.public, title=EVIL)
        box = granted.package.box_id
        now = await archive.database.factory.now()
        upload = stored_upload(box_id=str(box), alias=EVIL, state="failed", failure=EVIL)
        await archive.database.uploads.insert(upload)
        job = new_job(EVIL, "clean", hub=EVIL, now=now, due=now)
        await archive.database.jobs.insert(job)
        await archive.database.jobs.compare_and_set(
            EVIL, expected={}, changes={"worker": EVIL, "reason": EVIL, "attempts": 3}
        )
        return str(box)

    box = process.administer(fill)
    listings = {"boxes": 2, "files --uploads": 2, "jobs": 2, "grants": 2}
    for name, lines in listings.items():
        done = run_cli("archive", *name.split(), *root)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, lines), done
        assert is_calm(done.stdout + done.stderr), done
        as_json = run_cli("archive", *name.split(), "--json", *root)
        assert is_calm(as_json.stdout), as_json
        assert name == "grants" or EVIL in json.loads(as_json.stdout)[0].values(), "it is what was stored"
    for words in (("check",), ("revoke", EVIL), ("lock", EVIL), ("jobs", "retry", EVIL), ("remove-key", EVIL)):
        done = run_cli("archive", *words, *root)
        assert done.returncode not in (0, 1), done
        assert is_calm(done.stdout + done.stderr), done
    assert run_cli("archive", "lock", box, *root).returncode == 0
