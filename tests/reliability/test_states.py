"""What an upload makes of an archive that lost it, of a source that changed, of ETags, and of what is there already."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.reliability.conftest import Scripted
from tests.support.fake_archive import FakeArchive
from tests.support.program import Done, finish

LARGE, SMALL = 10_600_000, 1000
"""Of three parts and of one."""
SSE = "x-amz-server-side-encryption"


def write(scripted: Scripted, name: str = "x.bin", size: int = LARGE, seed: int = 0) -> bytes:
    data = random.Random(seed).randbytes(size)
    (scripted.folder / name).write_bytes(data)
    return data


def killed(scripted: Scripted, *arguments: object, at: Callable[[FakeArchive], bool], by: int = signal.SIGKILL) -> Done:
    """Start an upload, and end it with a signal when the archive has come so far."""
    scripted.archive.package_type = "upload"
    process = scripted.program.start("upload", "--max-concurrency", 1, *arguments)
    deadline = time.monotonic() + 180
    while not at(scripted.archive):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(by)
    done = finish(process)
    scripted.archive.heal()
    return done


def interrupted(scripted: Scripted, *, parts: int = 2) -> None:
    """Leave an upload of three parts of which a run was killed when so many were stored."""
    number = str(parts + 1)
    scripted.archive.stick("put", lambda request: request.url.params["partNumber"] == number)
    killed(scripted, "x.bin", at=lambda archive: archive.reached.is_set())
    assert [len(upload.parts) for upload in scripted.archive.uploads.values()] == [parts]
    scripted.archive.stored_parts.clear()


def check(scripted: Scripted, done: Done, data: bytes, *, name: str = "x.bin", sent: list[int] | None = None) -> None:
    """The box holds the file, right and once, and nothing open is left there."""
    assert done.code == 0, done.err
    assert [upload.state for upload in scripted.archive.uploads.values()] == ["inbox"]
    assert scripted.archive.opened(name) == data
    if sent is not None:
        assert scripted.archive.stored_parts == sent


# What the archive has lost -------------------------------------------------------------------------------------------


def test_a_lost_multipart_upload_is_sent_again_by_the_same_command(scripted: Scripted) -> None:
    data = write(scripted)
    interrupted(scripted)
    scripted.archive.lose_upload("x.bin")
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[1, 2, 3])
    assert len(re.findall("x.bin: .*Starting again", done.err)) == 1


def test_a_lost_part_shows_at_the_close_and_the_file_is_sent_again(scripted: Scripted) -> None:
    data = write(scripted)
    interrupted(scripted)
    scripted.archive.lose_part("x.bin", 2)
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[3, 1, 2, 3])
    assert "uploadCompletionError" in done.err


def test_a_box_that_refuses_every_listing_takes_uploads_and_resumes_them(scripted: Scripted) -> None:
    data = write(scripted)
    scripted.archive.separate_keys = True
    interrupted(scripted)
    check(scripted, scripted.upload("x.bin"), data, sent=[3])
    assert scripted.archive.counts["list"] == 0
    again = scripted.upload("x.bin")
    check(scripted, again, data, sent=[3])
    assert "there already" in again.err
    assert scripted.archive.counts["list"] == 2, "two fresh tokens are refused"


def test_a_box_that_cannot_be_listed_takes_what_is_new_and_knows_what_was_noted(scripted: Scripted) -> None:
    for number in range(4):
        write(scripted, f"{number}.bin", SMALL, seed=number)
    assert scripted.upload("0.bin", "1.bin").code == 0
    scripted.archive.stored_parts.clear()
    scripted.archive.fail("list", 503, times=1000)
    done = scripted.upload("0.bin", "1.bin", "2.bin", "3.bin", "--json")
    assert done.code == 0, done.err
    there = {line["name"]: line["already_there"] for line in map(json.loads, done.out.splitlines())}
    assert there == {"0.bin": "record", "1.bin": "record", "2.bin": None, "3.bin": None}
    assert len(scripted.archive.stored_parts) == 2
    assert scripted.archive.counts["list"] == 4, "tried three times again, once for all files"


def test_a_box_that_cannot_be_listed_is_asked_once_for_all_files_that_are_in_the_way(scripted: Scripted) -> None:
    for number in range(3):
        write(scripted, f"{number}.bin", SMALL, seed=number)
    names = [f"{number}.bin" for number in range(3)]
    assert scripted.upload(*names).code == 0
    scripted.archive.fail("list", 503, times=1000)
    done = scripted.upload(*names, "--json", XDG_STATE_HOME=str(scripted.folder / "elsewhere"))
    assert done.code == 5
    assert [json.loads(line)["error"]["family"] for line in done.out.splitlines()] == ["broken"] * 3
    assert scripted.archive.counts["list"] == 4


def test_closes_that_collide_alarm_nobody(scripted: Scripted) -> None:
    names = [f"{number}.bin" for number in range(4)]
    for name in names:
        write(scripted, name, SMALL)
    scripted.archive.colliding.add("complete")
    scripted.archive.latency["complete"] = 0.3
    done = scripted.upload(*names, "--retries", "8")  # as users have it: which closes meet again is chance
    assert done.code == 0, done.err
    assert [upload.state for upload in scripted.archive.uploads.values()] == ["inbox"] * 4
    # At most those that collide a second time, since all come at once again, are told.
    assert done.err.count("internalError") <= 2


def test_one_close_that_collides_is_not_told(scripted: Scripted) -> None:
    data = write(scripted)
    collision = {"exception_id": "internalError", "description": "", "data": {}}
    scripted.archive.fail("complete", 500, collision)
    done = scripted.upload("x.bin")
    check(scripted, done, data)
    assert "internalError" not in done.err
    assert "Trying again" not in done.err


# What the ETag of a part says ----------------------------------------------------------------------------------------


def opaque(**headers: str) -> Callable[[bytes], dict[str, str]]:
    """An ETag that looks like an md5 and is another each time."""
    rng = random.Random(1)
    return lambda part: {
        "ETag": f'"{rng.getrandbits(128):032x}"',
        **{n.replace("_", "-"): v for n, v in headers.items()},
    }


ETAGS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "kms": opaque(**{SSE: "aws:kms"}),
    "customer key": opaque(**{f"{SSE}-customer-algorithm": "AES256"}),
    "missing": lambda part: {},
    "unquoted": lambda part: {"ETag": hashlib.md5(part).hexdigest()},
    "upper case": lambda part: {"ETag": f'"{hashlib.md5(part).hexdigest().upper()}"'},
    "storage key": lambda part: {"ETag": f'"{hashlib.md5(part).hexdigest()}"', SSE: "AES256"},
    "weak": lambda part: {"ETag": f'W/"{"0" * 32}"'},
    "no md5": lambda part: {"ETag": '"0x8DC0FFEE"'},
}


@pytest.mark.parametrize("kind", ETAGS)
def test_an_etag_that_is_no_md5_is_not_called_damage(scripted: Scripted, kind: str) -> None:
    data = write(scripted)
    scripted.archive.etag = ETAGS[kind]
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[1, 2, 3])
    assert "Trying again" not in done.err


def test_a_storage_whose_etags_never_were_md5s_costs_one_part_to_find_out(scripted: Scripted) -> None:
    data = write(scripted)
    scripted.archive.etag = opaque()
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[1, 1, 2, 3])


def test_a_flipped_bit_under_an_opaque_etag_is_found_at_the_close_and_sent_again(scripted: Scripted) -> None:
    data = write(scripted)
    scripted.archive.etag = ETAGS["kms"]
    interrupted(scripted)
    scripted.archive.flip_part("x.bin", 1)
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[3, 1, 2, 3])
    assert len(re.findall("x.bin: .*checksumMismatch.*Starting again", done.err)) == 1


# A source that changed -----------------------------------------------------------------------------------------------


def replaced(scripted: Scripted) -> bytes:
    """Other content with the same size and time, as ``cp -p`` and ``touch -r`` make it."""
    path = scripted.folder / "x.bin"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(data)


def test_other_content_of_the_same_size_and_time_is_noticed(scripted: Scripted) -> None:
    write(scripted)
    interrupted(scripted)
    data = replaced(scripted)
    done = scripted.upload("x.bin", CONNECTOR_MAX_CONCURRENCY="1")
    check(scripted, done, data, sent=[1, 2, 3])
    assert len(re.findall("x.bin has changed.*Starting again", done.err)) == 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("heard", [False, True], ids=["close unanswered", "closed"])
def test_also_where_only_the_close_or_its_answer_is_missing(scripted: Scripted, size: int, heard: bool) -> None:
    write(scripted, size=size)
    archive = scripted.archive
    archive.stick("complete", lambda request: not heard or archive._route(request, "complete").is_success)
    killed(scripted, "x.bin", at=lambda archive: archive.reached.is_set())
    assert [upload.state for upload in archive.uploads.values()] == ["inbox" if heard else "init"]
    data = replaced(scripted)
    check(scripted, scripted.upload("x.bin"), data)


# The same command again ----------------------------------------------------------------------------------------------

NAMES = [f"{number}.bin" for number in range(8)]


@pytest.mark.parametrize("as_json", [False, True], ids=["", "json"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("finished", [1, 4, pytest.param(7, marks=pytest.mark.slow), 8])
def test_a_batch_that_was_ended_ends_with_0(scripted: Scripted, finished: int, by: int, as_json: bool) -> None:
    contents = {name: write(scripted, name, SMALL + number, number) for number, name in enumerate(NAMES)}
    arguments = [*NAMES, *(["--json"] if as_json else [])]
    # The next close is done, and its answer never heard.
    archive = scripted.archive

    def is_next(request: object) -> bool:
        return sum(upload.state == "inbox" for upload in archive.uploads.values()) >= finished

    if finished < 8:
        archive.stick("complete", is_next)
        killed(scripted, *arguments, at=lambda archive: archive.reached.is_set(), by=by)
    else:
        assert scripted.upload(*arguments).code == 0
    done_before = [upload.alias for upload in archive.uploads.values() if upload.state == "inbox"]
    assert len(done_before) == finished
    ids = {upload.alias: upload.id for upload in archive.uploads.values() if upload.state == "inbox"}
    archive.counts.clear()
    again = scripted.upload(*arguments)
    assert again.code == 0, again.err
    assert [upload.state for upload in archive.uploads.values()] == ["inbox"] * 8
    for name in NAMES:
        assert archive.opened(name) == contents[name]
    assert {name: archive.upload_of(name).id for name in ids} == ids, "nothing that was finished went again"
    assert archive.counts["put"] <= 8 - finished, "what is stored and not closed is only closed"
    assert archive.counts["list"] <= 1
    if as_json:
        lines = [json.loads(line) for line in again.out.splitlines()]
        assert sorted(line["name"] for line in lines) == NAMES
        assert all(line["ok"] for line in lines)
        assert sorted(line["name"] for line in lines if line["already_there"]) == sorted(done_before)


def test_where_nothing_is_noted_only_the_sizes_are_compared_and_that_is_said(scripted: Scripted) -> None:
    data = write(scripted)
    assert scripted.upload("x.bin").code == 0
    scripted.archive.stored_parts.clear()
    again = scripted.upload("x.bin", XDG_STATE_HOME=str(scripted.folder / "elsewhere"))
    check(scripted, again, data, sent=[])
    assert "only the size" in again.err


def last_command(said: str) -> list[str]:
    return said.strip().rpartition("connector ")[2].split()


@pytest.mark.parametrize("state", ["inbox", "interrogated"])
@pytest.mark.parametrize("options", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_another_file_in_the_box_is_refused_with_a_hint_that_helps(
    scripted: Scripted, state: str, options: list[str]
) -> None:
    write(scripted, size=SMALL)
    assert scripted.upload("x.bin").code == 0
    scripted.archive.upload_of("x.bin").state = state
    data = write(scripted, size=SMALL + 1)
    done = scripted.upload("x.bin", *options)
    if options and state == "inbox":
        check(scripted, done, data)
        return
    assert done.code == 4
    assert "Choose another --alias" in done.err
    assert ("--overwrite" in done.err) is (state == "inbox" and not options)
    removed = scripted.program.run(*last_command(done.err), "--yes")
    assert removed.code == 0, removed.err
    check(scripted, scripted.upload("x.bin", *options), data)


def test_another_machines_unfinished_upload_is_refused_with_a_hint_that_helps(scripted: Scripted) -> None:
    data = write(scripted)
    interrupted(scripted)
    elsewhere = {"XDG_STATE_HOME": str(scripted.folder / "elsewhere")}
    done = scripted.upload("x.bin", **elsewhere)
    assert done.code == 4
    words = last_command(done.err)
    assert words == ["discard", "--in-box", "x.bin"]
    assert scripted.program.run(*words, environment=elsewhere).code == 0
    check(scripted, scripted.upload("x.bin", **elsewhere), data)
