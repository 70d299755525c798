"""A batch that was interrupted ends with 0 when its command is run again, and nothing that is finished moves again."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reliability.conftest import Scripted
from tests.support.chaos_stage import MIB, Stage
from tests.support.contract_client import unseal
from tests.support.fake_archive import ENVELOPE
from tests.support.faults import Counts, Faults
from tests.support.program import Done, finish

NAMES = [f"GHGAF0{number}" for number in range(8)]
ALL_AT_ONCE = ("--max-concurrency", 24)
"""With eight files of three parts those that get no answer take no place from the others, whichever began first."""
SIGNALS = {"killed": signal.SIGKILL, "ended": signal.SIGTERM}
CODES = {"killed": -signal.SIGKILL, "ended": 128 + signal.SIGTERM}


def content(name: str) -> bytes:
    return random.Random(name).randbytes(300_000)


@pytest.fixture
def files(scripted: Scripted) -> list[str]:
    """Eight files to download, of three parts each."""
    for name in NAMES:
        scripted.archive.add_file(name, content(name))
    return NAMES


@contextmanager
def watched(scripted: Scripted) -> Iterator[Counter[str]]:
    """Count the ranges that are fetched, by accession."""
    fetched: Counter[str] = Counter()

    def note(request: httpx.Request) -> bool:
        fetched[request.url.path.split("/")[-1]] += 1
        return False

    scripted.archive.heal()
    scripted.archive.stick("get", note)
    yield fetched
    scripted.archive.heal()


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def wait_until_told(process: subprocess.Popen[str], files: int) -> None:
    """Wait until a command has told that so many files are finished, which it has recorded then."""
    assert process.stdout is not None
    for _ in range(files):
        assert json.loads(process.stdout.readline())["ok"]


def interrupted(scripted: Scripted, done: int, how: str, *arguments: str) -> None:
    """Download all files, and interrupt that when the first ``done`` of them have their names."""
    scripted.archive.package_type = "download"
    finished = set(NAMES[:done])
    scripted.archive.stick("get", lambda request: request.url.path.split("/")[-1] not in finished)
    out = scripted.folder / "out"
    process = scripted.program.start("download", "--output-dir", out, *ALL_AT_ONCE, *arguments)
    if done < len(NAMES):
        wait_until(lambda: len(names(out)) == done, process)
        process.send_signal(SIGNALS[how])
    said = finish(process)
    assert said.code == (CODES[how] if done < len(NAMES) else 0), said.err
    scripted.archive.heal()


def names(out: Path) -> list[str]:
    """Files that have their final names."""
    return sorted(path.name for path in out.glob("*") if path.name.endswith((".bin", ".bin.c4gh")))


def is_right(scripted: Scripted, name: str, *, decrypt: bool = False) -> bool:
    path = scripted.folder / "out" / (f"{name}.bin" if decrypt else f"{name}.bin.c4gh")
    data = path.read_bytes()
    return content(name) == (data if decrypt else unseal(data[:ENVELOPE], data[ENVELOPE:], scripted.keys.private))


def records(done: Done) -> dict[str, dict[str, Any]]:
    """The JSON lines, by name; each file has one."""
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert len({line["name"] for line in lines}) == len(lines)
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("done", range(1, 9))
def test_downloads_interrupted_after_any_file_end_with_0(
    scripted: Scripted, files: list[str], done: int, how: str
) -> None:
    decrypt = done % 2 == 0
    options = ["--decrypt"] if decrypt else []
    interrupted(scripted, done, how, *options)
    with watched(scripted) as fetched:
        said = scripted.download("--json", *options)
    assert said.code == 0, said.err
    assert set(fetched) == set(NAMES[done:]), "nothing that is finished is fetched again"
    told = records(said)
    assert sorted(told) == NAMES
    assert all(line["ok"] for line in told.values())
    assert [bool(told[name]["already_there"]) for name in NAMES] == [True] * done + [False] * (8 - done)
    assert all(is_right(scripted, name, decrypt=decrypt) for name in NAMES)
    assert len(list((scripted.folder / "out").iterdir())) == 8, "nothing is left beside them"
    assert f"8 of 8 files downloaded, {done} of them" in said.err


def test_a_finished_batch_asks_the_archive_for_nothing_but_its_package(scripted: Scripted, files: list[str]) -> None:
    assert scripted.download().code == 0
    scripted.archive.counts.clear()
    said = scripted.download()
    assert said.code == 0, said.err
    assert set(scripted.archive.counts) == {"values", "package"}
    assert "GHGAF03: there already, unchanged" in said.err
    assert "8 of 8 files downloaded, 8 of them" in said.err


@pytest.mark.parametrize("state", ["lost", "damaged", "not writable"])
def test_without_the_state_folder_sizes_are_compared(scripted: Scripted, files: list[str], state: str) -> None:
    folder = scripted.folder / "state"
    if state == "not writable":
        folder.write_bytes(b"a file where the folder should be")
    assert scripted.download().code == 0
    if state == "lost":
        shutil.rmtree(folder, ignore_errors=True)
    for path in folder.rglob("*.finished") if state == "damaged" else []:
        path.write_bytes(b"\xff" + path.read_bytes().replace(b'"size"', b'"site"'))
    with watched(scripted) as fetched:
        said = scripted.download()
    assert said.code == 0, said.err
    assert not fetched
    assert said.err.count("only the size") == 8


def test_a_file_of_another_size_is_refused(scripted: Scripted, files: list[str]) -> None:
    path = scripted.folder / "out" / "GHGAF03.bin.c4gh"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    for options in [(), ("--skip-existing",)]:
        said = scripted.download(*options)
        assert said.code == 3, said.err
        [line] = [line for line in said.err.splitlines() if "GHGAF03:" in line]
        assert "Move it away" in line.split("--overwrite")[0], "--overwrite is not the first way out"
        assert "another size" in line
        assert path.read_bytes() == b"mine"
        assert all(is_right(scripted, name) for name in NAMES if name != "GHGAF03")
    assert re.search("7 of them .*1 failed", said.err)
    path.unlink()
    assert scripted.download().code == 0
    assert is_right(scripted, "GHGAF03")


def test_skip_existing_is_the_default_by_name(scripted: Scripted, files: list[str]) -> None:
    assert scripted.download().code == 0
    said = scripted.download("--skip-existing", "--json")
    assert said.code == 0, said.err
    assert sorted(records(said)) == NAMES


def test_a_kill_right_after_the_rename_ends_with_0(scripted: Scripted, files: list[str]) -> None:
    assert scripted.download().code == 0
    out = scripted.folder / "out"
    shutil.rmtree(scripted.folder / "state", ignore_errors=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    owner = {"host": os.uname().nodename, "pid": gone.pid, "started": None, "touched": True}
    (out / "GHGAF03.bin.c4gh.part.lock").write_text(json.dumps(owner))
    (out / "GHGAF03.bin.c4gh.part.journal").write_bytes(b"")
    said = scripted.download()
    assert said.code == 0, said.err
    assert len(list(out.iterdir())) == 8, "what the killed one left is removed"


@pytest.mark.parametrize("decrypt", [False, True], ids=["sealed", "decrypted"])
def test_content_is_compared_on_request(scripted: Scripted, files: list[str], decrypt: bool) -> None:
    options = ["--decrypt"] if decrypt else []
    assert scripted.download(*options).code == 0
    path = scripted.folder / "out" / ("GHGAF03.bin" if decrypt else "GHGAF03.bin.c4gh")
    state, data = path.stat(), bytearray(path.read_bytes())
    data[200_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with watched(scripted) as fetched:
        said = scripted.download("--verify-existing", "--json", *options)
    assert said.code == 6, said.err
    assert not fetched
    told = records(said)
    assert told["GHGAF03"]["error"]["family"] == "integrity"
    assert "delete it" in told["GHGAF03"]["error"]["hint"]
    assert {line["already_there"] for line in told.values() if line["ok"]} == {"sha256"}
    assert re.search("7 of 8 files downloaded, 7 of them .*1 failed", said.err)
    path.unlink()
    assert scripted.download("--verify-existing", *options).code == 0
    assert is_right(scripted, "GHGAF03", decrypt=decrypt)


@pytest.mark.parametrize("how", SIGNALS)
def test_an_interrupted_batch_that_overwrites_gets_to_its_end(scripted: Scripted, files: list[str], how: str) -> None:
    out = scripted.folder / "out"
    out.mkdir()
    for name in NAMES:
        (out / f"{name}.bin.c4gh").write_bytes(b"older")
    finished = set(NAMES[:3])
    scripted.archive.package_type = "download"
    scripted.archive.stick("get", lambda request: request.url.path.split("/")[-1] not in finished)
    process = scripted.program.start("download", "--output-dir", out, *ALL_AT_ONCE, "--overwrite")
    wait_until(lambda: sum(path.stat().st_size > 5 for path in out.glob("*.c4gh")) == 3, process)
    process.send_signal(SIGNALS[how])
    assert finish(process).code == CODES[how]
    scripted.archive.heal()
    with watched(scripted) as fetched:
        said = scripted.download("--overwrite")
    assert said.code == 0, said.err
    assert set(fetched) == set(NAMES[3:]), "what this command replaced is not replaced again"
    assert all(is_right(scripted, name) for name in NAMES)


def sources(scripted: Scripted) -> list[str]:
    """Eight files to upload, of one part each."""
    for name in NAMES:
        (scripted.folder / name).write_bytes(content(name))
    return NAMES


def alias_of(scripted: Scripted, request: httpx.Request) -> str:
    upload = next(one for one in scripted.archive.uploads.values() if str(one.id) in request.url.path)
    return upload.alias


def in_inbox(scripted: Scripted) -> list[str]:
    return [upload.alias for upload in list(scripted.archive.uploads.values()) if upload.state == "inbox"]


@contextmanager
def watched_uploads(scripted: Scripted) -> Iterator[Counter[str]]:
    """Count the parts that are sent, by alias."""
    sent: Counter[str] = Counter()

    def note(request: httpx.Request) -> bool:
        sent[alias_of(scripted, request)] += 1
        return False

    scripted.archive.heal()
    scripted.archive.stick("put", note)
    yield sent
    scripted.archive.heal()


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("done", range(1, 9))
def test_uploads_interrupted_after_any_file_end_with_0(scripted: Scripted, done: int, how: str) -> None:
    files, finished = sources(scripted), set(NAMES[:done])
    scripted.archive.package_type = "upload"
    scripted.archive.stick("put", lambda request: alias_of(scripted, request) not in finished)
    process = scripted.program.start("upload", *files, *ALL_AT_ONCE, "--json")
    if done < len(NAMES):
        wait_until_told(process, done)
        process.send_signal(SIGNALS[how])
    said = finish(process)
    assert said.code == (CODES[how] if done < len(NAMES) else 0), said.err
    with watched_uploads(scripted) as sent:
        said = scripted.upload(*files, "--json")
    assert said.code == 0, said.err
    assert set(sent) == set(NAMES[done:]), "nothing that is finished is sent again"
    told = records(said)
    assert sorted(told) == NAMES
    assert all(line["ok"] for line in told.values())
    assert [bool(told[name]["already_there"]) for name in NAMES] == [True] * done + [False] * (8 - done)
    assert sorted(in_inbox(scripted)) == NAMES, "each file is there once"
    assert all(scripted.archive.opened(name) == content(name) for name in NAMES)
    assert f"8 of 8 files uploaded, {done} of them" in said.err


def test_a_finished_batch_of_uploads_asks_for_one_listing(scripted: Scripted) -> None:
    files = sources(scripted)
    assert scripted.upload(*files).code == 0
    scripted.archive.counts.clear()
    said = scripted.upload(*files)
    assert said.code == 0, said.err
    assert scripted.archive.counts == {"values": 1, "package": 1, "order": 1, "list": 1}
    assert "GHGAF03: there already, unchanged" in said.err


@pytest.mark.parametrize("state", ["lost", "damaged", "not writable"])
def test_without_the_state_folder_sizes_in_the_box_are_compared(scripted: Scripted, state: str) -> None:
    files, folder = sources(scripted), scripted.folder / "state"
    assert scripted.upload(*files).code == 0
    if state == "damaged":
        for path in folder.rglob("*.finished"):
            path.write_bytes(b"\xff" + path.read_bytes().replace(b'"size"', b'"site"'))
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if state == "not writable":
        (folder / "connector").mkdir(parents=True)
        (folder / "connector" / "finished").write_bytes(b"a file where the folder should be")
    with watched_uploads(scripted) as sent:
        said = scripted.upload(*files)
    assert said.code == 0, said.err
    assert not sent
    assert said.err.count("only the size") == 8


def test_another_file_in_the_box_is_refused(scripted: Scripted) -> None:
    files = sources(scripted)
    assert scripted.upload(*files).code == 0
    (scripted.folder / "GHGAF03").write_bytes(b"another size")
    (scripted.folder / "GHGAF04").write_bytes(b"x" * 300_000)
    said = scripted.upload(*files)
    assert said.code == 4, said.err
    for name, why in [("GHGAF03", "bytes, not 12"), ("GHGAF04", "other content")]:
        [line] = [line for line in said.err.splitlines() if line.startswith(f"{name}:")]
        assert why in line
        assert "another --alias" in line.split("--overwrite")[0], "--overwrite is not the first way out"
    assert re.search("6 of 8 files uploaded, 6 of them .*2 failed", said.err)
    assert all(scripted.archive.opened(name) == content(name) for name in NAMES)


def test_the_content_of_sources_is_compared_on_request(scripted: Scripted) -> None:
    files = sources(scripted)
    assert scripted.upload(*files).code == 0
    path = scripted.folder / "GHGAF03"
    state = path.stat()
    path.write_bytes(b"x" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with watched_uploads(scripted) as sent:
        said = scripted.upload(*files, "--verify-existing", "--json")
    assert said.code == 4, said.err
    assert not sent
    told = records(said)
    assert "other content" in told["GHGAF03"]["error"]["message"]
    assert {line["already_there"] for line in told.values() if line["ok"]} == {"sha256"}
    path.write_bytes(content("GHGAF03"))
    shutil.rmtree(scripted.folder / "state", ignore_errors=True)
    said = scripted.upload(*files, "--verify-existing", "--json")
    assert said.code == 0, said.err
    assert {line["already_there"] for line in records(said).values()} == {"size"}
    assert "content of 8" in said.err


def test_a_dry_run_says_what_is_there(scripted: Scripted) -> None:
    files = sources(scripted)
    assert scripted.upload(*files[:5]).code == 0
    with watched_uploads(scripted) as sent:
        said = scripted.upload(*files, "--dry-run", "--json")
    assert said.code == 0, said.err
    assert not sent
    assert [bool(records(said)[name]["already_there"]) for name in NAMES] == [True] * 5 + [False] * 3
    assert "8 of 8 files could be uploaded, 5 of them" in said.err


@pytest.mark.parametrize("how", SIGNALS)
def test_an_interrupted_batch_that_overwrites_uploads_gets_to_its_end(scripted: Scripted, how: str) -> None:
    files, finished = sources(scripted), set(NAMES[:3])
    for name in NAMES:
        (scripted.folder / name).write_bytes(b"older")
    assert scripted.upload(*files).code == 0
    sources(scripted)
    scripted.archive.package_type = "upload"
    scripted.archive.stick("put", lambda request: alias_of(scripted, request) not in finished)
    process = scripted.program.start("upload", *files, *ALL_AT_ONCE, "--overwrite", "--json")
    wait_until_told(process, 3)
    process.send_signal(SIGNALS[how])
    assert finish(process).code == CODES[how]
    with watched_uploads(scripted) as sent:
        said = scripted.upload(*files, "--overwrite")
    assert said.code == 0, said.err
    assert set(sent) == set(NAMES[3:]), "what this command replaced is not replaced again"
    assert all(scripted.archive.opened(name) == content(name) for name in NAMES)


@pytest.mark.parametrize("how", SIGNALS)
def test_a_real_archive_is_sent_and_asked_for_each_byte_once(stage: Stage, how: str) -> None:
    """Both ways, interrupted twice; the bytes are counted on the line."""
    size, token = 2 * MIB, stage.archive.grant_upload(stage.keys.public)
    folder = stage.folder / how
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(random.Random(f"{how} {name}").randbytes(size))
    upload = ["upload", *sorted(folder.iterdir()), "--json", "--max-concurrency", "2"]
    moved, told = until_done(stage, how, "uploaded", token, upload)
    assert moved < 8 * size + 4 * size + MIB, "what went again was in flight: two files, twice"
    accessions = {name: stage.archive.wait_for_file(line["file_id"])["accession"] for name, line in told.items()}
    out = folder / "out"
    download = ["download", "--output-dir", out, "--decrypt", "--json", "--max-concurrency", "2"]
    token = stage.grant_download(*accessions.values())
    moved, _ = until_done(stage, how, "downloaded", token, download)
    assert moved < 8 * size + 4 * size + MIB
    for name, accession in accessions.items():
        (path,) = out.glob(f"{accession}*")
        assert path.read_bytes() == (folder / name).read_bytes()


def until_done(
    stage: Stage, how: str, way: str, token: str, arguments: list[object]
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Interrupt a command after its 2nd and 5th file, then run it to its end; the bytes of all runs, and the lines."""
    stage.proxy.counts = Counts()
    for done in (2, 5):
        stage.proxy.faults = Faults(bytes_per_second=4e6)
        process = stage.start(*arguments, token=token)
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(done)]
        process.send_signal(SIGNALS[how])
        assert finish(process).code == CODES[how]
    stage.proxy.faults = Faults()
    said = stage.run(*arguments, token=token)
    assert said.code == 0, said.err
    told = records(said)
    assert len(told) == 8
    assert all(told[line["name"]]["already_there"] == "record" for line in lines)
    return getattr(stage.proxy.counts, way), told


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize(("done", "options"), [(1, []), (4, ["--overwrite"]), (7, [])])
def test_encrypting_and_decrypting_interrupted_ends_with_0(
    scripted: Scripted, command: str, how: str, done: int, options: list[Any]
) -> None:
    arguments = recryption(scripted, command, size=16 * 1024**2)
    results = scripted.folder / "results"
    process = scripted.program.start(command, *arguments, *options)
    while process.poll() is None and len(names(results)) < done:
        time.sleep(0.002)
    process.send_signal(SIGNALS[how])
    assert finish(process).code in (CODES[how], 0), "0 if it was through already"
    made = {path: (results / path).stat().st_ino for path in names(results)}
    assert len(made) >= done
    said = scripted.program.run(command, *arguments, "--json", *options)
    assert said.code == 0, said.err
    told = records(said)
    assert len(told) == 8
    assert {path: (results / path).stat().st_ino for path in made} == made, "they were not made again"
    assert sum(line["already_there"] == "record" for line in told.values()) == len(made)
    assert f"8 of 8 files {command}ed, {len(made)} of them" in said.err
    assert len(list(results.iterdir())) == 8, "nothing is left beside them"
    for path in results.iterdir():
        data = path.read_bytes()
        opened = unseal(data[:ENVELOPE], data[ENVELOPE:], scripted.keys.private) if command == "encrypt" else data
        assert opened == bytes(16 * 1024**2)


def recryption(scripted: Scripted, command: str, *, size: int) -> list[object]:
    """Eight files to encrypt or decrypt, and the arguments for that."""
    folder = scripted.folder / "in"
    folder.mkdir()
    for name in NAMES:
        with (folder / f"{name}.bin").open("wb") as file:
            file.truncate(size)
    plain = sorted(folder.iterdir())
    to_encrypt = ["--recipient-public-key-path", scripted.folder / "my.pub", "--output-dir"]
    if command == "encrypt":
        return [*plain, *to_encrypt, scripted.folder / "results"]
    assert scripted.program.run("encrypt", *plain, *to_encrypt, scripted.folder / "sealed").code == 0
    return ["--input-dir", scripted.folder / "sealed", "--output-dir", scripted.folder / "results"]


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_result_of_something_else_is_refused(scripted: Scripted, command: str) -> None:
    arguments = recryption(scripted, command, size=100_000)
    assert scripted.program.run(command, *arguments).code == 0
    source = scripted.folder / ("in/GHGAF03.bin" if command == "encrypt" else "sealed/GHGAF03.bin.c4gh")
    other = source.with_name(source.name.replace("3", "4"))
    shutil.copyfile(other, source)
    said = scripted.program.run(command, *arguments)
    assert said.code == 3, said.err
    assert "8 files" in said.err
    assert re.search("7 of them .*1 failed", said.err)
    shutil.rmtree(scripted.folder / "state", ignore_errors=True)
    said = scripted.program.run(command, *arguments)
    assert (said.code, "is older than" in said.err) == (3, True), "without notes there are only size and time"
    result = scripted.folder / "results" / (f"{source.name}.c4gh" if command == "encrypt" else source.stem)
    result.write_bytes(b"mine")
    said = scripted.program.run(command, *arguments)
    assert said.code == 3, said.err
    assert "another size" in said.err
    assert result.read_bytes() == b"mine"
