"""``upload`` against an archive that answers as GHGA's services may, while it sends, resumes and closes.

Each answer of the wire contract's last section is played in the first run, in the first two, or in all three runs of
the same command. It ends with 0, or with a documented code and a hint whose command leads to 0 or removes the upload.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import httpx
import pytest

from tests.reliability.conftest import Scripted
from tests.support.program import Done, finish

LARGE, SMALL = 10_600_000, 1000
"""Of three parts and of one."""
NAME = "x.bin"
EVER = 10_000
COMMAND = re.compile(r"connector ((?:upload|rm|discard)\b.*)$")
WHAT_TO_DO = re.compile(
    "same command again|Choose another --(alias|part-size)|check the file's size|[Aa]sk for a|[Tt]ell the archive"
)
"""What a hint says where it names no command; the test, which then has the archive answer well, does it in part."""


@attrs.frozen
class Answer:
    """What the archive says to the first ``times`` requests of one kind in a run."""

    kind: str
    status: int
    exception_id: str = ""
    times: int = EVER
    when: Callable[[httpx.Request], bool] = lambda _: True
    about: str = ""

    @property
    def body(self) -> Any:
        if self.kind == "put":
            return f"<Error><Code>{self.exception_id}</Code></Error>".encode()
        if self.exception_id:
            return {"exception_id": self.exception_id, "description": "", "data": {}}
        return {"detail": "Refused" if self.status in (401, 403) else [{"msg": "Value error", "loc": ["body"]}]}

    def __str__(self) -> str:
        ever = "" if self.times == EVER else f" x {self.times}"
        return f"{self.kind} {self.status} {self.exception_id}{self.about}{ever}"


def token_for(work_type: str) -> Callable[[httpx.Request], bool]:
    return lambda request: f'"{work_type}"'.encode() in request.content


CREATING = [
    Answer("order", 403, when=token_for("create"), about="create"),
    Answer("create", 400, "noSuchStorage"),
    Answer("create", 400, "invalidPartSize"),
    Answer("create", 401),
    Answer("create", 401, times=1),
    Answer("create", 403),
    Answer("create", 404, "boxNotFound"),
    Answer("create", 409, "boxStateError"),
    Answer("create", 409, "boxVersionOutdated"),
    Answer("create", 409, "boxVersionOutdated", times=1),
    Answer("create", 409, "fileUploadAlreadyExists"),
    Answer("create", 409, "orphanedMultipartUpload"),
    Answer("create", 422),
    Answer("create", 429, "tooManyOpenUploads", times=2),
    Answer("create", 429, times=1),
    Answer("create", 500, "internalError", times=1),
    Answer("create", 507, "boxMaxSizeExceeded"),
]
SENDING = [
    Answer("order", 403, when=token_for("upload"), about="upload"),
    Answer("part-url", 401),
    Answer("part-url", 401, times=1),
    Answer("part-url", 403),
    Answer("part-url", 404, "boxNotFound"),
    Answer("part-url", 404, "fileUploadNotFound"),
    Answer("part-url", 404, "fileUploadNotFound", times=1),
    Answer("part-url", 404, "s3UploadNotFound"),
    Answer("part-url", 404, "s3UploadNotFound", times=1),
    Answer("part-url", 409, "boxStateError"),
    Answer("part-url", 409, "fileUploadStateError"),
    Answer("part-url", 500, "internalError", times=1),
    Answer("put", 404, "NoSuchUpload"),
    Answer("put", 404, "NoSuchUpload", times=1),
    Answer("put", 403, "AccessDenied", times=1),
    Answer("put", 400, "EntityTooSmall"),
]
CLOSING = [
    Answer("order", 403, when=token_for("close"), about="close"),
    Answer("complete", 400, "checksumMismatch"),
    Answer("complete", 400, "checksumMismatch", times=1),
    Answer("complete", 400, "uploadSizeMismatch"),
    Answer("complete", 400, "invalidPartSize"),
    Answer("complete", 401),
    Answer("complete", 401, times=1),
    Answer("complete", 403),
    Answer("complete", 404, "boxNotFound"),
    Answer("complete", 404, "fileUploadNotFound"),
    Answer("complete", 404, "s3UploadNotFound"),
    Answer("complete", 409, "boxStateError"),
    Answer("complete", 409, "boxVersionOutdated", times=1),
    Answer("complete", 409, "fileUploadStateError"),
    Answer("complete", 409, "fileUploadStateError", times=1),
    Answer("complete", 422),
    Answer("complete", 500, "internalError", times=1),
    Answer("complete", 500, "uploadCompletionError"),
    Answer("complete", 500, "uploadCompletionError", times=1),
]
UPLOAD, RESUMED_TO_SEND, RESUMED_TO_CLOSE = "upload", "resumed to send", "resumed to close"
SCENES = {
    (UPLOAD, SMALL): CREATING + SENDING + CLOSING,
    (UPLOAD, LARGE): SENDING + CLOSING,
    (RESUMED_TO_SEND, SMALL): SENDING + CLOSING,
    (RESUMED_TO_SEND, LARGE): SENDING + CLOSING,
    (RESUMED_TO_CLOSE, SMALL): CLOSING,
    (RESUMED_TO_CLOSE, LARGE): CLOSING,
}
USUAL = {UPLOAD: CREATING, RESUMED_TO_SEND: SENDING, RESUMED_TO_CLOSE: CLOSING}
FINAL = (
    "fileUploadAlreadyExists",
    "s3UploadNotFound",
    "uploadCompletionError",
    "checksumMismatch",
    "fileUploadStateError",
)
"""What passes by itself, and these in all three runs, are played in one scene each; ``nox -s soak`` plays the rest."""


def cases() -> Iterator[Any]:
    for (how, size), answers in SCENES.items():
        for answer in answers:
            # What passes by itself ends in the first run.
            for runs in (1,) if answer.times < EVER else (1, 2, 3):
                told = answer.times < EVER or (runs == 3 and answer.exception_id in FINAL)
                is_usual = told and answer in USUAL[how] and size == (SMALL if how == UPLOAD else LARGE)
                yield pytest.param(
                    how,
                    size,
                    answer,
                    runs,
                    id=f"{how}, {size}: {answer} in {runs}",
                    marks=[] if is_usual else [pytest.mark.soak],
                )


class Scene:
    """A user with one file."""

    def __init__(self, scripted: Scripted, size: int) -> None:
        self.scripted = scripted
        self.archive = scripted.archive
        self.path = scripted.folder / NAME
        self.path.write_bytes(random.Random(size).randbytes(size))
        self.archive.package_type = "upload"
        self.parts = 3 if size == LARGE else 1

    def interrupt(self, how: str) -> None:
        """Leave an upload of which a run was killed: while it sent its last part, or when it was to close."""
        sends = how == RESUMED_TO_SEND
        number = str(self.parts)
        if sends:
            self.archive.stick("put", lambda request: request.url.params["partNumber"] == number)
        else:
            self.archive.stick("complete")
        process = self.scripted.program.start("upload", NAME, "--max-concurrency", 1)
        deadline = time.monotonic() + 180
        while not self.archive.reached.is_set():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        finish(process)
        self.archive.heal()
        assert [len(upload.parts) for upload in self.archive.uploads.values()] == [self.parts - sends]

    def run(self, *arguments: str) -> tuple[Done, Counter[str]]:
        """Run ``upload``; also how often the archive was asked for what."""
        before = self.archive.counts.copy()
        done = self.scripted.upload(NAME, "--json", *arguments, CONNECTOR_RETRIES="2", CONNECTOR_MAX_CONCURRENCY="1")
        return done, self.archive.counts - before

    def is_there(self) -> bool:
        """Whether the box holds the file, received and right."""
        return self.state == "inbox" and self.archive.opened(NAME) == self.path.read_bytes()

    @property
    def state(self) -> str | None:
        """Of the upload under the alias."""
        return next((upload.state for upload in self.archive.uploads.values() if upload.alias == NAME), None)

    @property
    def is_open(self) -> bool:
        """Whether it holds a place in the box, or anything is left of it here."""
        journals = list((self.scripted.folder / "state").rglob("*.upload"))
        return self.state == "init" or bool(journals)


def hint_of(done: Done) -> str:
    """The hint for the one file, from its JSON line."""
    (line,) = done.out.splitlines()
    hint: str = json.loads(line)["error"]["hint"]
    return hint


def check_requests(asked: Counter[str], parts: int) -> None:
    """No run asks for more than a transfer takes, with two retries of each call, and a restart for each cause."""
    assert asked["values"] == asked["package"] == 1
    assert asked["create"] <= 3 + 4
    assert asked["list"] <= 2
    assert asked["part-url"] <= (parts + 2) * 3
    assert asked["complete"] <= 2 * 3
    assert asked["delete"] <= 4
    assert asked["put"] <= parts * 3
    assert asked["order"] <= 20


@pytest.mark.parametrize(("how", "size", "answer", "runs"), list(cases()))
def test_three_runs_end_well_or_with_a_hint_that_helps(
    scripted: Scripted, how: str, size: int, answer: Answer, runs: int
) -> None:
    scene = Scene(scripted, size)
    if how != UPLOAD:
        scene.interrupt(how)
    for number in range(3):
        if number < runs:
            scripted.archive.fail(answer.kind, answer.status, answer.body, times=answer.times, when=answer.when)
        done, asked = scene.run()
        scripted.archive.heal()
        assert "Traceback" not in done.err
        check_requests(asked, scene.parts)
        if answer.times < EVER:
            assert done.code == 0, done.err
        if done.code == 0:
            break
    if done.code:
        assert runs == 3, f"nothing stood in the way any more: {done.err}"
        assert done.code in (3, 4, 6), done.err
        hint = hint_of(done)
        assert "--overwrite" not in hint.partition(".")[0]
        named = COMMAND.search(hint)
        assert named or WHAT_TO_DO.search(hint), hint
        if named:
            finished = scripted.program.run(*shlex.split(named[1]), *(["--yes"] if named[1].startswith("rm ") else []))
            assert finished.code == 0, finished.err
            assert not scene.is_open
        done, _ = scene.run()
    assert done.code == 0, done.err
    assert scene.is_there()
    assert not scene.is_open
