"""``ls``, ``rm``, ``status`` and ``discard`` against an archive that answers as GHGA's services may.

Each answer of the wire contract's last section that can meet them is played to them: the same command, run up to three
times, ends with 0, or with a documented code and a hint whose command leads to 0 or removes the upload.
"""

from __future__ import annotations

import copy
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from connector.archive import admin
from tests.reliability.conftest import Scripted, open_scripted
from tests.support.command_line import CommandLine
from tests.support.fake_archive import Upload
from tests.support.program import Done, command, environment, finish
from tests.support.served_archive import SET_UPS, MakeArchive

SIZE = 10_600_000  # 3 parts
EVER = 10_000
LINE = re.compile(r"connector ((?:ls|status|rm|discard|upload)\b[^.;\n]*)")


@attrs.frozen
class Answer:
    """What the archive says to requests of one kind, ``times`` times."""

    kind: str
    status: int
    exception_id: str = ""
    times: int = EVER
    headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        if self.exception_id:
            return {"exception_id": self.exception_id, "description": "", "data": {}}
        return {"detail": "Invalid" if self.status == 401 else [{"msg": "Value error", "loc": ["path"]}]}

    def __str__(self) -> str:
        ever = "" if self.times == EVER else f" x {self.times}"
        return f"{self.kind} {self.status} {self.exception_id}{ever}"


LISTING = [
    Answer("list", 401),
    Answer("list", 401, times=1),
    Answer("list", 403),
    Answer("list", 404, "boxNotFound"),
    Answer("list", 422),
    Answer("list", 422, "paginationError"),
    Answer("list", 429, times=1, headers={"Retry_After": "1"}),
    Answer("list", 500, "internalError", times=1),
    Answer("list", 503, times=2),
]
DELETION = [
    Answer("delete", 401),
    Answer("delete", 401, times=1),
    Answer("delete", 403, "wrongFile"),
    Answer("delete", 404, "fileUploadNotFound"),
    Answer("delete", 404, "s3UploadNotFound"),
    Answer("delete", 409, "boxStateError"),
    Answer("delete", 409, "boxVersionOutdated"),
    Answer("delete", 409, "boxVersionOutdated", times=1),
    Answer("delete", 409, "fileUploadStateError"),
    Answer("delete", 422),
    Answer("delete", 429, times=1, headers={"Retry_After": "1"}),
    Answer("delete", 500, "internalError", times=1),
    Answer("delete", 500, "uploadAbortError"),
    Answer("delete", 500, "uploadAbortError", times=1),
]
COMMANDS = {
    "ls": (["ls"], LISTING),
    "status --in-box": (["status", "--in-box"], LISTING),
    "rm": (["rm", "--yes", "mine.bin"], LISTING + DELETION),
    "status": (["status"], [Answer("list", 401)]),
    "discard": (["discard", "mine.bin"], [Answer("list", 401), *DELETION]),
    "discard --in-box": (["discard", "--in-box", "theirs.bin"], LISTING + DELETION),
}
CASES = [
    pytest.param(words, answer, id=f"{name}: {answer}")
    for name, (words, answers) in COMMANDS.items()
    for answer in answers
]


def in_box(scripted: Scripted, alias: str) -> str | None:
    """The state of the upload of this alias; ``None`` where there is none."""
    return next((upload.state for upload in scripted.archive.uploads.values() if upload.alias == alias), None)


def interrupt_upload(scripted: Scripted, name: str, state: str) -> None:
    """Leave an upload with a journal in the folder ``state``, killed when the second part was to be sent."""
    (scripted.folder / name).write_bytes(b"x" * SIZE)
    scripted.archive.package_type = "upload"
    scripted.archive.stick("part-url", lambda request: request.url.path.endswith("/2"))
    process = scripted.program.start("upload", name, environment={"XDG_STATE_HOME": str(scripted.folder / state)})
    while not any(upload.parts for upload in scripted.archive.uploads.values() if upload.alias == name):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    finish(process)
    scripted.archive.heal()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, dict[UUID, Upload]]]:
    """A box with an unfinished upload of this machine, one of another machine, and a complete one."""
    with open_scripted(tmp_path_factory.mktemp("box")) as scripted:
        (scripted.folder / "done.bin").write_bytes(b"x" * 1000)
        assert scripted.upload("done.bin").code == 0
        interrupt_upload(scripted, "theirs.bin", "another machine")
        interrupt_upload(scripted, "mine.bin", "state")
        states = [in_box(scripted, name) for name in ("done.bin", "theirs.bin", "mine.bin")]
        assert states == ["inbox", "init", "init"]
        shutil.copytree(scripted.folder / "state", scripted.folder / "state before")
        yield scripted, copy.deepcopy(scripted.archive.uploads)


@pytest.fixture
def box(prepared: tuple[Scripted, dict[UUID, Upload]]) -> Scripted:
    """That box as it was left, whatever the tests before have done with it."""
    scripted, uploads = prepared
    archive = scripted.archive
    archive.heal()
    archive.colliding.clear()
    archive.latency.clear()
    archive.uploads = copy.deepcopy(uploads)
    shutil.rmtree(scripted.folder / "state")
    shutil.copytree(scripted.folder / "state before", scripted.folder / "state")
    return scripted


def follow(scripted: Scripted, said: str, alias: str) -> Done:
    """Run the last command that a hint names, for the file ``alias``."""
    named = LINE.findall(said)
    assert named, f"no hint names a command: {said}"
    words = named[-1].replace("PATH", alias).replace("NAME", alias).split()
    return scripted.program.run(*words)


@pytest.mark.parametrize(("words", "answer"), CASES)
def test_three_runs_end_well_or_with_a_hint_that_helps(box: Scripted, words: Sequence[str], answer: Answer) -> None:
    alias = words[-1]
    box.archive.fail(answer.kind, answer.status, answer.body, times=answer.times, **dict[str, Any](answer.headers))
    before = box.archive.counts.copy()
    for _ in range(3):
        done = box.program.run(*words, environment={"CONNECTOR_RETRIES": "2"})
        if done.code == 0:
            break
    assert done.code in (0, 3, 4, 6), done.err
    assert "Traceback" not in done.err
    if done.code:
        assert follow(box, done.err, alias).code == 0 or in_box(box, alias) in (None, "cancelled"), done.err
    elif alias.endswith(".bin"):
        assert in_box(box, alias) == ("init" if answer.status == 404 else "cancelled")
    # At most three tries of a call, each with a token, in three runs and that of the hint's command.
    asked = box.archive.counts - before
    runs = asked["package"]
    assert runs <= 4
    assert asked[answer.kind] <= 3 * runs
    assert asked["order"] <= 2 * 3 * runs
    if answer.times < EVER:
        assert runs == 1, "what passes needs no second run"
        assert asked[answer.kind] == answer.times + 1


def test_a_box_is_listed_with_states_sizes_dates_and_reasons(box: Scripted) -> None:
    [done] = [upload for upload in box.archive.uploads.values() if upload.alias == "done.bin"]
    done.state, done.failure_reason = "failed", "The content is \x1b[31mother than announced."
    listed = box.program.run("ls")
    assert listed.code == 0, listed.err
    rows = [line.split(maxsplit=5) for line in listed.out.splitlines()]
    assert [(row[0], row[5]) for row in rows] == [
        ("failed", "done.bin: The content is \\x1b[31mother than announced."),
        ("init", "mine.bin"),
        ("init", "theirs.bin"),
    ], "sorted by alias, and no character acts on the terminal"
    assert rows[0][1:3] == ["1.00", "kB"]
    names = zip(listed.out.splitlines(), ("done.bin", "mine.bin", "theirs.bin"), strict=True)
    assert len({line.index(name) for line, name in names}) == 1, "in columns"

    objects = [json.loads(line) for line in box.program.run("ls", "--json").out.splitlines()]
    keys = "kind name file_name file_id size encrypted_size state state_updated failure_reason age"
    assert {" ".join(one) for one in objects} == {keys}
    assert (objects[0]["name"], objects[0]["state"], objects[0]["size"]) == ("done.bin", "failed", 1000)
    assert objects[0]["failure_reason"] == done.failure_reason
    assert isinstance(objects[0]["age"], int)


def test_files_to_download_are_listed_without_being_staged(scripted: Scripted) -> None:
    scripted.archive.add_file("GHGAF02", b"x")
    scripted.archive.add_file("GHGAF01", b"x", extension=".bam")
    listed = scripted.program.run("ls")
    assert listed.code == 0, listed.err
    assert "stage each file" in listed.err
    assert [line.split()[-2:] for line in listed.out.splitlines()] == [
        ["GHGAF01", "GHGAF01.bam.c4gh"],
        ["GHGAF02", "GHGAF02.bin.c4gh"],
    ]
    objects = [json.loads(line) for line in scripted.program.run("ls", "--json").out.splitlines()]
    assert [(one["kind"], one["name"], one["file_name"]) for one in objects] == [
        ("download", "GHGAF01", "GHGAF01.bam.c4gh"),
        ("download", "GHGAF02", "GHGAF02.bin.c4gh"),
    ]
    assert {one["size"] for one in objects} == {one["state"] for one in objects} == {None}
    assert set(scripted.archive.counts) == {"values", "package"}, "a DRS object would be staged"


def test_what_is_removed_is_forgotten_here_too(box: Scripted) -> None:
    done = box.program.run("rm", "--yes", "mine.bin", "done.bin")
    assert done.code == 0, done.err
    assert in_box(box, "mine.bin") == in_box(box, "done.bin") == "cancelled"
    assert box.program.run("status").out == ""
    again = box.program.run("rm", "--yes", "mine.bin", "done.bin")
    assert again.code == 0, "what is removed already is no error"
    assert box.upload("done.bin").code == 0
    assert in_box(box, "done.bin") == "inbox", "and the same command uploads it again"


def test_one_that_cannot_be_removed_does_not_stop_the_others(box: Scripted) -> None:
    [kept] = [upload for upload in box.archive.uploads.values() if upload.alias == "done.bin"]
    kept.state = "awaiting_archival"
    done = box.program.run("rm", "--yes", "--json", "done.bin", "missing.bin", "mine.bin")
    assert done.code == 4
    assert in_box(box, "mine.bin") == "cancelled"
    assert "missing.bin" in done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert sorted((row["name"], row["ok"]) for row in rows) == [
        ("done.bin", False),
        ("mine.bin", True),
        ("missing.bin", False),
    ]


def test_nobody_is_asked_where_nobody_can_answer(box: Scripted) -> None:
    before = box.archive.counts.copy()
    done = box.program.run("rm", "done.bin")
    assert done.code == 2
    assert "--yes" in done.err
    assert box.program.run("rm", "--yes").code == 2
    assert box.archive.counts == before


@pytest.mark.parametrize(("answer", "code", "state"), [("y", 0, "cancelled"), ("n", 2, "inbox"), ("", 2, "inbox")])
def test_at_a_terminal_it_is_asked_once(box: Scripted, answer: str, code: int, state: str) -> None:
    terminal, end = pty.openpty()
    try:
        process = box.program.start("rm", "done.bin", "missing.bin", stdin=end)
        os.write(terminal, f"{answer}\n".encode())
        done = finish(process)
    finally:
        os.close(terminal)
        os.close(end)
    assert "done.bin: inbox, 1.00 kB\n" in done.err, "what will be removed"
    assert done.err.count("[y/N]") == 1
    assert in_box(box, "done.bin") == state
    assert done.code == (4 if code == 0 else code), "one of the two is not there"


def test_files_of_a_list_are_removed(box: Scripted) -> None:
    (box.folder / "files.tsv").write_text("no-longer-here.bin\tdone.bin\n/x/y\tmine.bin\n")
    one = box.program.run("rm", "--yes", "theirs.bin", environment={"CONNECTOR_TSV": "files.tsv"})
    assert one.code == 0, one.err
    assert in_box(box, "mine.bin") == "init", "a list in the environment is for uploads"
    done = box.program.run("rm", "--yes", "--tsv", "files.tsv")
    assert done.code == 0, done.err
    assert in_box(box, "mine.bin") == in_box(box, "done.bin") == "cancelled"


def test_where_nothing_is_listed_what_this_machine_uploaded_is_removed(box: Scripted) -> None:
    box.archive.fail("list", 401, {"detail": "Invalid"}, times=EVER)
    done = box.program.run("rm", "--yes", "done.bin", "mine.bin", "theirs.bin")
    assert done.code == 4
    assert "theirs.bin" in done.err
    assert in_box(box, "mine.bin") == in_box(box, "done.bin") == "cancelled"


@pytest.mark.parametrize("listed", [True, False])
def test_a_complete_upload_is_not_discarded_by_mistake(box: Scripted, listed: bool) -> None:
    if not listed:
        box.archive.fail("list", 401, {"detail": "Invalid"}, times=EVER)
    done = box.program.run("discard", "--in-box", "done.bin")
    assert done.code == (2 if listed else 4), done.err
    assert "connector rm" in done.err
    assert in_box(box, "done.bin") == "inbox"


def test_an_upload_that_is_being_sent_is_not_removed(box: Scripted) -> None:
    box.archive.stick("part-url")
    process = box.program.start("upload", "mine.bin")
    asked = box.archive.counts["part-url"]
    while box.archive.counts["part-url"] == asked:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    for words in (["rm", "--yes", "mine.bin"], ["discard", "mine.bin"]):
        done = box.program.run(*words)
        assert done.code == 3, done.err
        assert "Another process" in done.err
    assert in_box(box, "mine.bin") == "init"
    process.kill()
    finish(process)
    assert box.program.run("rm", "--yes", "mine.bin").code == 0


def test_several_processes_may_remove_at_the_same_time(box: Scripted) -> None:
    box.archive.colliding.add("delete")
    box.archive.latency["delete"] = 0.5
    names = ["done.bin", "done.bin", "mine.bin", "theirs.bin"]
    patient = {"CONNECTOR_RETRIES": "8"}  # as by default: three of them may collide again and again
    started = [box.program.start("rm", "--yes", name, environment=patient) for name in names]
    ended = [finish(process) for process in started]
    assert [done.code for done in ended] == [0] * 4, ended
    assert {in_box(box, name) for name in names} == {"cancelled"}


def interrupt_download(scripted: Scripted, folder: Path) -> None:
    """Leave a download of GHGAF01 in ``folder``, killed in the middle."""
    scripted.archive.package_type = "download"
    scripted.archive.add_file("GHGAF01", b"x" * 500_000)
    scripted.archive.stick("get", lambda request: request.headers["range"].startswith("bytes=0-"))
    process = scripted.program.start("download", "--output-dir", folder)
    while not list(folder.glob("*.part.journal")) or not scripted.archive.ranges:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    finish(process)
    scripted.archive.heal()


def test_status_looks_where_downloads_went(scripted: Scripted) -> None:
    out = scripted.folder / "data" / "out"
    interrupt_download(scripted, out)
    found = scripted.program.run("status")
    assert found.code == 0, found.err
    assert f"into {out}/GHGAF01.bin.c4gh" in found.out
    assert str(out) in found.err, "it says where it looked"
    narrowed = scripted.program.run("status", "--output-dir", scripted.folder)
    assert narrowed.out == ""
    assert str(out) not in narrowed.err
    # Once finished, or gone, the folder is forgotten.
    assert scripted.program.run("download", "--output-dir", out).code == 0
    assert str(out) not in scripted.program.run("status").err
    interrupt_download(scripted, scripted.folder / "gone")
    shutil.rmtree(scripted.folder / "gone")
    gone = scripted.program.run("status")
    assert gone.code == 0, gone.err
    assert "Nothing is unfinished." in gone.err
    assert "gone" not in gone.err


def test_discard_looks_where_downloads_went(scripted: Scripted) -> None:
    out = scripted.folder / "data" / "out"
    interrupt_download(scripted, out)
    (scripted.folder / "elsewhere").mkdir()
    not_there = scripted.program.run("discard", "GHGAF01", "--output-dir", "elsewhere")
    assert not_there.code == 2
    assert "elsewhere" in not_there.err
    done = scripted.program.run("discard", "GHGAF01")
    assert done.code == 0, done.err
    assert list(out.iterdir()) == []
    assert str(out) not in scripted.program.run("status").err


def test_a_journal_that_cannot_be_read_is_named_and_does_not_hide_the_others(box: Scripted) -> None:
    unreadable = box.folder / "state" / "connector" / "uploads" / "0.upload"
    unreadable.mkdir()
    try:
        found = box.program.run("status")
        assert (found.code, found.out.count("mine.bin:")) == (0, 1), found.err
        assert found.err.count(str(unreadable)) == 1
        unknown = box.program.run("discard", "no-such.bin")
        assert (unknown.code, "no-such.bin" in unknown.err) == (3, True), unknown.err
        done = box.program.run("discard", "mine.bin")
        assert done.code == 0, done.err
        assert in_box(box, "mine.bin") == "cancelled"
        everything = box.program.run("discard", "--all")
        assert everything.code == 3, everything.err
        assert str(unreadable) in everything.err
    finally:
        unreadable.rmdir()
    assert "Nothing is unfinished." in box.program.run("status").err


# A process of its own between, since a child's peak counts what its parent had when it was started.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stderr=subprocess.STDOUT)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr)
sys.exit(code)
"""


def peak_of_listing(scripted: Scripted) -> tuple[int, int]:
    """The lines that ``ls`` prints, and its peak memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command("ls")],
        env=environment(**scripted.program.settings),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return len(done.stdout.splitlines()), int(done.stderr)


@pytest.mark.slow
def test_a_box_of_30_000_uploads_is_listed_in_little_memory(scripted: Scripted) -> None:
    archive = scripted.archive
    archive.package_type = "upload"

    def fill(count: int) -> None:
        for number in range(count):
            facts = {"alias": f"sample-{number:06}.fastq.gz", "decrypted_size": number, "encrypted_size": number}
            archive.uploads[UUID(int=number)] = Upload(UUID(int=number), facts)

    fill(1)
    _, alone = peak_of_listing(scripted)
    fill(30_000)
    archive.counts.clear()
    lines, many = peak_of_listing(scripted)
    assert lines >= 30_000
    assert archive.counts["list"] == 30
    assert many - alone < 16 * 1024**2
    print(f"peak memory: {alone / 1e6:.1f} MB with one upload, {many / 1e6:.1f} MB with 30,000")


@pytest.mark.parametrize("set_up", SET_UPS)
def test_a_real_archive_checks_lists_and_removes(set_up: str, make_archive: MakeArchive, tmp_path: Path) -> None:
    with make_archive(set_up) as archive:
        user = CommandLine.of(archive, tmp_path)
        token = archive.grant_upload(user.keys.public)
        for name in ("a.bin", "b.bin"):
            (tmp_path / name).write_bytes(bytes(3000))
        done = user.run("upload", "a.bin", "b.bin", "--wait", token=token)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in user.run("ls", "--json", token=token).stdout.splitlines()]
        assert [(row["name"], row["size"]) for row in rows] == [("a.bin", 3000), ("b.bin", 3000)]
        assert {row["state"] for row in rows} <= {"interrogated", "awaiting_archival", "archived"}
        assert all(0 <= row["age"] < 600 for row in rows)
        removed = user.run("rm", "--yes", "a.bin", token=token)
        assert removed.returncode == 0, removed.stderr
        listed = map(json.loads, user.run("ls", "--json", token=token).stdout.splitlines())
        states = {row["name"]: row["state"] for row in listed}
        assert states.get("a.bin") in (None, "cancelled")
        assert states["b.bin"] in ("interrogated", "awaiting_archival", "archived")
        rows = archive.administer(lambda opened: admin.list_files(opened, uploads=True))
        archive.wait_for_file(next(row["file_id"] for row in rows if row["alias"] == "b.bin"))
        download = user.run("ls", "--json", token=archive.grant_download(user.keys.public))
        assert [json.loads(line)["kind"] for line in download.stdout.splitlines()] == ["download"]
