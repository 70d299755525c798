"""Reporting never kills the work: output that is full, closed or gone costs no file (docs/reliability.md)."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.conftest import Scripted
from tests.support.program import Done, finish

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")

COUNT = 3
Stream = dict[str, Any]


@contextmanager
def full(number: int) -> Iterator[Stream]:
    """A full disk."""
    with open("/dev/full", "w") as file:
        yield {_name(number): file}


@contextmanager
def closed(number: int) -> Iterator[Stream]:
    """Not there at all."""
    yield {_name(number): None, "preexec_fn": lambda: os.close(number)}


@contextmanager
def deserted(number: int) -> Iterator[Stream]:
    """A pipe whose reader has gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        yield {_name(number): theirs}
    finally:
        os.close(theirs)


@contextmanager
def ended_terminal(number: int) -> Iterator[Stream]:
    """A terminal whose window was closed, in a program that does not mind the hang-up."""
    ours, theirs = pty.openpty()
    os.close(ours)
    try:
        yield {_name(number): theirs, "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    finally:
        os.close(theirs)


def _name(number: int) -> str:
    return "stdout" if number == 1 else "stderr"


LOST = [full, closed, deserted, ended_terminal]
lost = pytest.mark.parametrize("lost", LOST, ids=lambda kind: kind.__name__)
Lost = Callable[[int], Any]


def upload(scripted: Scripted, *arguments: object, **options: Any) -> Done:
    scripted.archive.package_type = "upload"
    names = [f"f{number}.bin" for number in range(COUNT)]
    for name in names:
        (scripted.folder / name).write_bytes(name.encode() * 50_000)
    return scripted.program.run("upload", *names, *arguments, **options)


def download(scripted: Scripted, *arguments: object, **options: Any) -> Done:
    scripted.archive.package_type = "download"
    for number in range(COUNT):
        scripted.archive.add_file(f"GHGAF{number}", bytes([number]) * 300_000)
    out = scripted.folder / "out"
    return scripted.program.run("download", "--output-dir", out, *arguments, **options)


def received(scripted: Scripted) -> list[str]:
    return [upload.state for upload in scripted.archive.uploads.values()]


def fetched(scripted: Scripted) -> list[str]:
    return sorted(os.listdir(scripted.folder / "out"))


FETCHED = [f"GHGAF{number}.bin.c4gh" for number in range(COUNT)]


@lost
def test_without_standard_error_all_files_are_moved_and_the_code_is_zero(scripted: Scripted, lost: Lost) -> None:
    with lost(2) as streams:
        assert upload(scripted, **streams).code == 0
        assert download(scripted, "--json", **streams).code == 0
    assert received(scripted) == ["inbox"] * COUNT
    assert fetched(scripted) == FETCHED


@lost
def test_without_the_json_that_was_asked_for_all_files_are_moved_and_the_code_is_3(
    scripted: Scripted, lost: Lost
) -> None:
    with lost(1) as streams:
        sent, came = upload(scripted, "--json", **streams), download(scripted, "--json", **streams)
    assert (sent.code, came.code) == (3, 3)
    for done in (sent, came):
        assert done.err.count("standard output") == 1
        assert "Traceback" not in done.err
    assert received(scripted) == ["inbox"] * COUNT
    assert fetched(scripted) == FETCHED


@lost
def test_where_no_output_was_asked_for_none_is_missed(scripted: Scripted, lost: Lost) -> None:
    with lost(1) as streams:
        assert upload(scripted, **streams).code == 0
    assert received(scripted) == ["inbox"] * COUNT


@lost
def test_the_code_of_the_transfer_comes_first(scripted: Scripted, lost: Lost) -> None:
    scripted.archive.fail("object", 404, times=100, when=lambda request: request.url.path.endswith("GHGAF1"))
    with lost(1) as streams:
        assert download(scripted, "--json", **streams).code == 4
    assert fetched(scripted) == [FETCHED[0], FETCHED[2]]
    with lost(2) as streams:
        assert download(scripted, "--overwrite", **streams).code == 4


@lost
def test_a_listing_that_cannot_be_printed_is_code_3(scripted: Scripted, lost: Lost) -> None:
    scripted.archive.fail("get", 404, times=100, when=lambda request: "bytes=0-" not in request.headers["range"])
    assert download(scripted, "--quiet").code == 4
    listing = ("status", "--output-dir", scripted.folder / "out")
    assert "GHGAF1" in scripted.program.run(*listing).out
    for arguments in (("--version",), ("--help",), ("upload", "--help"), listing, (*listing, "--json")):
        with lost(1) as streams:
            done = scripted.program.run(*arguments, **streams)
        assert done.code == 3, arguments
        assert "standard output" in done.err, arguments
        assert "Traceback" not in done.err


@lost
def test_a_wrong_command_has_its_code_also_where_nobody_hears_of_it(scripted: Scripted, lost: Lost) -> None:
    scripted.archive.package_type = "upload"
    with lost(2) as streams:
        assert scripted.program.run("upload", "--no-such-option", **streams).code == 2
        assert scripted.program.run("upload", **streams).code == 2
        assert scripted.program.run("upload", "no-such-file", "--debug", **streams).code == 3


def test_debug_lines_that_cannot_be_printed_cost_no_file(scripted: Scripted) -> None:
    for kind in LOST:
        with kind(2) as streams:
            assert upload(scripted, "--debug", "--overwrite", **streams).code == 0
    assert set(received(scripted)) == {"inbox"}


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1:strict"])
def test_names_that_the_terminal_cannot_show_cost_no_file(scripted: Scripted, encoding: str) -> None:
    scripted.archive.package_type = "upload"
    name = "Größe \u6f22.bin"
    (scripted.folder / name).write_bytes(b"x" * 1000)
    done = scripted.program.run(
        "upload", name, "--json", environment={"PYTHONIOENCODING": encoding}, encoding="latin-1"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["name"] == name
    assert "\\u6f22.bin: uploaded" in done.err


def test_a_pipe_that_does_not_block_gets_every_line(scripted: Scripted) -> None:
    """As standard output is when it is shared with some other programs (ssh, node)."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    names = [f"{'x' * 200}{number:03}" for number in range(300)]
    for name in names:
        (scripted.folder / name).write_bytes(b"x")
    arguments = ("encrypt", *names, "--recipient-public-key-path", "my.pub", "--json", "--quiet", "--output-dir", "e")
    process = scripted.program.start(*arguments, stdout=theirs)
    os.close(theirs)
    time.sleep(1.5)  # it is full by then
    with os.fdopen(ours, encoding="ascii") as pipe:
        lines = pipe.read().splitlines()
    done = finish(process)
    assert done.code == 0, done.err
    assert [json.loads(line)["name"] for line in lines] != []
    assert sorted(json.loads(line)["name"] for line in lines) == names


def test_a_closed_standard_error_is_no_file_of_ours(scripted: Scripted) -> None:
    """Otherwise a file that is opened gets its number, and is written into by what means to warn."""
    scripted.archive.latency["get"] = 30
    scripted.archive.add_file("GHGAF1", bytes(300_000))
    with closed(2) as streams:
        process = scripted.program.start("download", "--output-dir", scripted.folder / "out", **streams)
    try:
        part = scripted.folder / "out" / "GHGAF1.bin.c4gh.part"
        deadline = time.monotonic() + 180
        while not part.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert os.readlink(f"/proc/{process.pid}/fd/2") == os.devnull
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130
    finally:
        process.kill()
        process.communicate()
    for path in (scripted.folder / "out").iterdir():
        assert b"Ended" not in path.read_bytes()


# Secrets in what is reported ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", ["e", "true", "name", "hello", "decrypted", "encrypted", "hello.c4gh", "sha256"])
def test_a_passphrase_that_is_a_word_changes_no_line_and_leaves_no_gap(scripted: Scripted, passphrase: str) -> None:
    program = scripted.program
    (scripted.folder / "hello").write_bytes(b"hello")
    given = {"CONNECTOR_PASSPHRASE": passphrase, "CONNECTOR_MY_PRIVATE_KEY_PATH": "k.sec"}
    assert program.run("keygen", "--sk", "k.sec", "--pk", "k.pub", environment=given).code == 0
    encrypt = ("encrypt", "hello", "--recipient-public-key-path", "k.pub")
    decrypt = ("decrypt", "hello.c4gh", "--output-dir", "o", "--json")
    runs = [program.run(*arguments, environment=given) for arguments in (encrypt, decrypt, decrypt)]
    assert [done.code for done in runs][:2] == [0, 0], runs
    assert all("hidden" not in done.out + done.err for done in runs)
    fields = json.loads(runs[1].out)
    assert (fields["name"], fields["ok"], fields["target"]) == ("hello.c4gh", True, "o/hello")
    assert not {"hidden", "[hidden]"} & set(fields)


def test_a_token_that_the_archive_repeats_is_hidden_and_the_line_is_json(scripted: Scripted) -> None:
    token = scripted.archive.access_token
    scripted.program.settings["CONNECTOR_ACCESS_TOKEN"] = token  # type: ignore[index]
    body = {"exception_id": "x", "description": f"token {token} or Bearer abcdefghijklmnopqrstuvwx", "data": {}}
    scripted.archive.fail("package", 403, body, times=100)
    done = scripted.download("--json")
    assert done.code == 4
    assert json.loads(done.out)["error"]["family"] == "refused"
    assert token.partition(":")[2] not in done.out + done.err
    assert "abcdefghijklmnopqrstuvwx" not in done.out + done.err


def test_an_alias_that_looks_like_a_secret_is_told_as_it_is(scripted: Scripted) -> None:
    name = "eyJhbGciOi.eyJpYXQi.c2ln"
    Path(scripted.folder / name).write_bytes(b"x" * 1000)
    done = scripted.upload(name, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["name"] == name
    assert f"{name}: uploaded" in done.err


def test_nothing_waits_for_a_person_who_reads(scripted: Scripted) -> None:
    """A reader that takes one line and goes, as ``head -1`` does."""
    (scripted.folder / "a.bin").write_bytes(b"x" * 1000)
    (scripted.folder / "b.bin").write_bytes(b"x" * 1000)
    scripted.archive.package_type = "upload"
    process = scripted.program.start("upload", "a.bin", "b.bin", "--json", "--quiet")
    with subprocess.Popen(["head", "-1"], stdin=process.stdout, stdout=subprocess.PIPE, text=True) as head:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        line = head.communicate(timeout=180)[0]
    assert json.loads(line)["ok"] is True
    assert finish(process).code in (0, 3)  # whether the second line came before the reader went
    assert received(scripted) == ["inbox", "inbox"]
