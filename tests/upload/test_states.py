"""What a journal tells of an upload, in every state, and also one that an older version has left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.files import SourceState
from connector.local.journal import Journal, read_journal
from connector.parts import PartDigests
from connector.upload.journals import UploadJournals, UploadSource
from connector.upload.states import (
    SentPart,
    Stage,
    StartedUpload,
    UploadState,
    created,
    fold,
    head_facts,
)

OLD = Path(__file__).parent / "journals_of_ef454ea"
"""Left by the commit before uploads were states, with the keys and secrets of this module."""
USER, OTHER = KeyPair.of(b"u" * 32), KeyPair.of(b"v" * 32)
BOX = UUID(int=1)
SIZE, PART_SIZE = 10_600_000, 80 * 65_564  # three parts
STARTED = StartedUpload(UUID(int=7), PART_SIZE, b"envelope", b"k" * 32, b"n" * 32)
SEALED = SentPart(PartDigests("a" * 32, "b" * 64), "c" * 64)


def part(number: int) -> SentPart:
    return SentPart(PartDigests(f"{number:032x}", f"{number:064x}"), f"{number + 9:064x}")


def journal(
    *numbers: int,
    size: int = SIZE,
    sealed: SentPart | None = None,
    key: bytes = USER.public,
    changes: dict[str, Any] | None = None,
) -> Journal:
    head = {"kind": "upload", "size": size, **head_facts(STARTED, key, sealed), **(changes or {})}
    return Journal(head, {number: part(number).facts() for number in numbers}, 0)


def test_announced() -> None:
    assert fold(Journal({"kind": "upload-announced"}, {}, 0), USER.private) == UploadState(Stage.ANNOUNCED)


@pytest.mark.parametrize(
    ("numbers", "stage"),
    [
        ((), Stage.CREATED),
        ((1,), Stage.SENDING),
        ((2, 3), Stage.SENDING),
        ((1, 2, 3), Stage.RECEIVED),
    ],
)
def test_the_parts_that_are_stored_tell_how_far_it_is(numbers: tuple[Any, ...], stage: Stage) -> None:
    state = fold(journal(*numbers), USER.private)
    assert state == UploadState(stage, STARTED.file_id, STARTED, {number: part(number) for number in numbers})


def test_a_small_file_may_have_been_sent() -> None:
    state = fold(journal(size=1000, sealed=SEALED), USER.private)
    assert state == UploadState(Stage.SENDING, STARTED.file_id, STARTED, {}, SEALED)


def test_one_that_was_just_created() -> None:
    assert fold(journal(), USER.private) == created(STARTED)


def test_parts_that_the_file_does_not_have_do_not_count() -> None:
    state = fold(journal(1, 2, 4, 5), USER.private)
    assert state is not None
    assert (state.stage, sorted(state.parts)) == (Stage.SENDING, [1, 2])


@pytest.mark.parametrize(
    "changes",
    [
        {"part_size": 0},
        {"part_size": "x"},
        {"envelope": 5},
        {"secrets": "x"},
        {"size": None},
        {"sealed": {"md5": 1}},
        {"sealed": {"md5": 1, "sha256": ""}},
    ],
)
def test_one_that_cannot_be_read_cannot_be_resumed_but_deleted(changes: dict[str, Any]) -> None:
    assert fold(journal(1, changes=changes), USER.private) == UploadState(Stage.CREATED, STARTED.file_id)


def test_nor_can_one_for_another_key() -> None:
    assert fold(journal(1, key=OTHER.public), USER.private) == UploadState(Stage.CREATED, STARTED.file_id)


@pytest.mark.parametrize("changes", [{"kind": "download"}, {"file_id": "x"}, {"file_id": None}])
def test_what_names_no_upload_is_none(changes: dict[str, Any]) -> None:
    assert fold(journal(1, changes=changes), USER.private) is None


# Of an older version -------------------------------------------------------------------------------------------------


def old(name: str) -> Journal:
    found = read_journal((OLD / f"{name}.upload").read_bytes())
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "number"), [("many", 7), ("small", 8)])
def test_a_journal_without_digests_of_the_source_is_not_resumed_but_names_the_upload(name: str, number: int) -> None:
    state = fold(old(name), USER.private)
    assert state == UploadState(Stage.CREATED, UUID(int=number))


def test_an_old_journal_of_an_announcement() -> None:
    assert fold(old("announced"), USER.private) == UploadState(Stage.ANNOUNCED)


# Of a source that may have changed -----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> UploadSource:
    path = tmp_path / "many.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return UploadSource(path, "many.bin")


def begun(source: UploadSource) -> Path:
    """The path of a journal of this source, with its first part."""
    journals = UploadJournals(source.path.parent, USER, BOX)
    file = journals.begin(source, SourceState.of(os.stat(source.path)), STARTED, None)
    file.add_parts({1: part(1).facts()})
    file.close()
    return file.path


@pytest.mark.parametrize("change", ["size", "time"])
def test_no_journal_is_resumed_where_size_or_time_changed(source: UploadSource, change: str) -> None:
    begun(source)
    if change == "size":
        os.truncate(source.path, SIZE - 1)
    else:
        os.utime(source.path, ns=(0, 5))
    state = UploadJournals(source.path.parent, USER, BOX).find(source, SourceState.of(os.stat(source.path)))
    assert state is not None
    assert (state.file_id, state.started, state.changed) == (UUID(int=7), None, True)


def test_a_journal_needs_no_file_times_of_its_own(source: UploadSource) -> None:
    os.utime(begun(source), ns=(0, 0))
    state = UploadJournals(source.path.parent, USER, BOX).find(source, SourceState.of(os.stat(source.path)))
    assert state == UploadState(Stage.SENDING, STARTED.file_id, STARTED, {1: part(1)})


def test_a_new_journal_differs_from_an_old_one_by_the_digests_of_the_source_alone(source: UploadSource) -> None:
    """So that an older version, where both are installed, resumes it too."""
    new = read_journal(begun(source).read_bytes())
    assert new is not None
    assert new.head.keys() == old("many").head.keys()
    assert new.parts[1].keys() - {"plain"} == old("many").parts[1].keys()
