"""Files of any size that an archive can store: what the dry run says, what the upload sends, and the memory it takes.

The sources are sparse: they take no disk, and only as much of them is read as is sent.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.conftest import Scripted
from tests.support.program import Done, finish, kill_at_end
from tests.support.waiting import wait_until

MIB, GIB, TIB = 2**20, 2**30, 2**40
SEGMENT, SEALED_SEGMENT, ENVELOPE = 65_536, 65_564, 124
SMALLEST_PART, LARGEST_PART, MOST_PARTS, LARGEST_OBJECT = 5 * MIB, 5 * GIB, 10_000, 5 * TIB
MEMORY = 256 * MIB
"""The budget of who gives none."""
PROGRAM = 100 * MIB
"""What the program itself takes beside the parts."""


def sealed(size: int) -> int:
    """Bytes of the object that a file of ``size`` bytes becomes."""
    return ENVELOPE + size + -(-size // SEGMENT) * (SEALED_SEGMENT - SEGMENT)


FITS = (LARGEST_OBJECT - ENVELOPE) // SEALED_SEGMENT * SEGMENT + (LARGEST_OBJECT - ENVELOPE) % SEALED_SEGMENT - 28
"""The largest file whose object can be stored."""
SIZES = [
    *(1, SEGMENT, 5 * MIB - 1, 5 * MIB, 8 * MIB, 256 * MIB, GIB, 77 * GIB, 78 * GIB, 100 * GIB, TIB),
    *(int(2.3 * TIB), int(2.4 * TIB), int(2.43 * TIB), int(2.45 * TIB), int(2.5 * TIB), 3 * TIB, 4 * TIB),
    *(FITS - SEGMENT, FITS - 1, FITS),
]
TOO_LARGE = [FITS + 1, FITS + SEGMENT, 5 * TIB - 1, 5 * TIB, 5 * TIB + 1, 6 * TIB, 16 * TIB - 4096]
"""The last is the largest file that ext4 can hold."""


def sparse(folder: Path, size: int, name: str = "") -> str:
    """Make a file of ``size`` bytes that takes no disk; its name."""
    name = name or f"{size}.bin"
    with (folder / name).open("wb") as file:
        file.write(b"\1")
        file.truncate(size)
    return name


def dry_run(scripted: Scripted, *words: object) -> tuple[Done, dict[str, dict[str, Any]]]:
    done = scripted.upload(*words, "--dry-run", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    return done, {line.get("name"): line for line in lines}


def test_the_dry_run_plans_every_size_up_to_the_largest_object(scripted: Scripted) -> None:
    names = [sparse(scripted.folder, size) for size in SIZES]
    done, planned = dry_run(scripted, *names, "--part-size", "8MiB")
    assert done.code == 0, done.err
    for size, name in zip(SIZES, names, strict=True):
        plan = planned[name]
        assert plan["encrypted_size"] == sealed(size)
        assert SMALLEST_PART <= plan["part_size"] <= LARGEST_PART
        assert plan["part_size"] % SEALED_SEGMENT == 0
        assert plan["parts"] == -(-sealed(size) // plan["part_size"]) <= MOST_PARTS
    assert scripted.archive.counts["create"] == 0
    needs = {name: max(MEMORY, min(plan["part_size"], plan["encrypted_size"])) for name, plan in planned.items()}
    told = [line for line in done.err.splitlines() if "memory budget" in line]
    assert len(told) == len({need for need in needs.values() if need > MEMORY})
    assert "525MiB" in told[-1]
    assert {name: plan["memory"] for name, plan in planned.items()} == needs


@pytest.mark.parametrize("dry", [True, False])
def test_what_is_larger_ends_with_2_before_a_byte_is_sent(scripted: Scripted, dry: bool) -> None:
    """Also what only the sealing makes too large; the files beside it are not held up."""
    names = [sparse(scripted.folder, size) for size in TOO_LARGE]
    small = sparse(scripted.folder, 1000, "small.bin")
    done = scripted.upload(*names, small, "--json", *(["--dry-run"] if dry else []))
    assert done.code == 2
    found = {line["name"]: line for line in map(json.loads, done.out.splitlines())}
    assert {name for name, line in found.items() if not line["ok"]} == set(names)
    for name in names:
        assert found[name]["error"]["family"] == "usage"
        assert "5 TiB" in found[name]["error"]["message"]
    assert scripted.archive.counts["create"] == scripted.archive.counts["put"] == (0 if dry else 1)
    assert {upload.alias for upload in scripted.archive.uploads.values()} == (set() if dry else {small})


def test_what_is_larger_than_disks_can_hold(scripted: Scripted) -> None:
    """A file of 8 EiB in memory: larger than most file systems allow."""
    descriptor = os.memfd_create("huge")
    try:
        os.truncate(descriptor, 2**63 - 1)
        for words in ((), ("--dry-run",)):
            done = scripted.upload(f"/proc/{os.getpid()}/fd/{descriptor}", "--alias", "huge", *words)
            assert (done.code, "Split" in done.err) == (2, True), done.err
    finally:
        os.close(descriptor)
    assert scripted.archive.counts["create"] == 0


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(int(2.3 * TIB), id="2.3 TiB"),
        pytest.param(int(2.5 * TIB), id="2.5 TiB"),
        pytest.param(FITS, id="5 TiB", marks=pytest.mark.slow),
    ],
)
def test_the_first_parts_are_sent_as_planned_within_the_memory_that_was_said(scripted: Scripted, size: int) -> None:
    name = sparse(scripted.folder, size)
    _, planned = dry_run(scripted, name)
    plan = planned[name]
    memory = max(MEMORY, plan["part_size"])
    code, err, peak = send_first_parts(scripted, name, parts=2)
    assert code == 130, err
    [upload] = scripted.archive.uploads.values()
    assert upload.announced["part_size"] == plan["part_size"]
    assert upload.announced["encrypted_size"] == plan["encrypted_size"] == sealed(size)
    received = scripted.server.received
    assert sorted(received)[:2] == [1, 2]
    assert set(received.values()) == {plan["part_size"]}
    assert ("memory budget" in err) is (memory > MEMORY)
    assert memory / 2 < peak <= memory + PROGRAM


def test_a_large_upload_is_resumed_without_what_was_sent(scripted: Scripted) -> None:
    name = sparse(scripted.folder, int(2.5 * TIB))
    assert send_first_parts(scripted, name, parts=2)[0] == 130
    sent = set(scripted.server.received)
    scripted.server.received.clear()
    done, planned = dry_run(scripted, name, "--part-size", "1GiB")  # the parts are those that it was begun with
    assert done.code == 0, done.err
    assert planned[name]["part_size"] == next(iter(scripted.archive.uploads.values())).announced["part_size"]
    code, err, _ = send_first_parts(scripted, name, parts=1)
    assert code == 130, err
    # The last one was recorded only if its response came before the signal.
    assert min(scripted.server.received) in (max(sent), max(sent) + 1)
    assert len(scripted.archive.uploads) == 1
    assert "memory budget" in err


@pytest.mark.parametrize("wanted", [("--part-size", "48MiB", "--memory", "16MiB"), ("--memory", "2MiB")])
def test_memory_for_less_than_one_part_grows_to_one_and_says_so(scripted: Scripted, wanted: tuple[str, ...]) -> None:
    """Uploads: no part may be smaller than 5 MiB."""
    name = sparse(scripted.folder, 60 * MIB)
    _, planned = dry_run(scripted, name, *wanted)
    done = scripted.upload(name, *wanted)
    assert done.code == 0, done.err
    part = planned[name]["part_size"]
    assert f"from {wanted[-1]}" in done.err
    assert f"{-(-part // MIB)}MiB" in done.err


def test_a_download_in_parts_larger_than_the_memory(scripted: Scripted) -> None:
    """Asked for, as it has to be where a storage ignores ranges; otherwise its parts are made to fit."""
    content = os.urandom(6 * MIB)
    scripted.archive.add_file("GHGAF01", content)
    scripted.archive.add_file("GHGAF02", content)
    done = scripted.download("GHGAF01", "--decrypt", "--part-size", "8MiB", "--memory", "1MiB")
    assert done.code == 0, done.err
    assert "from 1MiB" in done.err
    assert len(scripted.archive.ranges) == 1
    scripted.program.settings.pop("CONNECTOR_PART_SIZE")  # type: ignore[attr-defined]
    done = scripted.download("GHGAF02", "--decrypt", "--memory", "2MiB")
    assert done.code == 0, done.err
    assert "memory budget" not in done.err
    assert len(scripted.archive.ranges) == 5, done.err
    assert (scripted.folder / "out" / "GHGAF02.bin").read_bytes() == content


def test_no_memory_for_a_part_is_this_machines_fault(scripted: Scripted) -> None:
    name = sparse(scripted.folder, FITS)
    small = sparse(scripted.folder, 1000, "small.bin")
    done = finish(start(scripted, name, small, "--part-size", "5GiB", preexec_fn=lambda: limit_address_space(3 * GIB)))
    assert done.code == 3, done.err
    assert "allocate memory" in done.err
    assert {upload.alias: upload.state for upload in scripted.archive.uploads.values()} == {
        name: "init",
        small: "inbox",
    }


def limit_address_space(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def start(scripted: Scripted, *words: object, **options: object) -> subprocess.Popen[str]:
    scripted.archive.package_type = "upload"
    return scripted.program.start("upload", *words, **options)


def send_first_parts(scripted: Scripted, *words: object, parts: int) -> tuple[int, str, int]:
    """Upload into nothing, and interrupt when ``parts`` have arrived; exit code, what was said, peak of memory."""
    scripted.server.discards = True
    process = start(scripted, *words)
    try:
        wait_until(lambda: len(scripted.server.received) >= parts or process.poll() is not None)
        peak = peak_memory(process.pid) if process.poll() is None else 0
        process.send_signal(signal.SIGINT)
        done = finish(process)
    finally:
        kill_at_end([process])
    return done.code, done.err, peak


def peak_memory(pid: int) -> int:
    """Bytes of memory that a process has had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has ended")
