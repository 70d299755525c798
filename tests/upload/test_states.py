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
from connector.upload import UploadSource
from connector.upload.journals import UploadJournals
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
    assert state.is_verifiable


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


def test_an_old_journal_of_many_parts() -> None:
    state = fold(old("many"), USER.private)
    assert state is not None
    assert (state.stage, state.file_id, sorted(state.parts)) == (Stage.SENDING, UUID(int=7), [1, 3])
    assert state.started is not None
    assert state.started.part_size == PART_SIZE
    assert (state.started.session_key, state.started.nonce_seed) == (STARTED.session_key, STARTED.nonce_seed)
    assert state.parts[3] == SentPart(PartDigests(f"{3:032x}", f"{3:064x}"), None)
    assert not state.is_verifiable


def test_an_old_journal_of_a_small_file() -> None:
    state = fold(old("small"), USER.private)
    assert state is not None
    assert (state.stage, state.file_id) == (Stage.SENDING, UUID(int=8))
    assert state.sealed == SentPart(SEALED.digests, None)
    assert not state.is_verifiable


def test_an_old_journal_of_an_announcement() -> None:
    assert fold(old("announced"), USER.private) == UploadState(Stage.ANNOUNCED)


# Of a source that may have changed -----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> UploadSource:
    path = tmp_path / "many.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    os.utime(path, ns=(0, old("many").head["mtime_ns"]))
    return UploadSource(path, "many.bin")


def found(source: UploadSource, name: str = "many", *, kept: bool = True) -> UploadState | None:
    """What is found of an old journal that was written after the source, unless it is not ``kept`` to that."""
    journals = UploadJournals(source.path.parent, USER, BOX)
    path = journals.path(source)
    path.write_bytes((OLD / f"{name}.upload").read_bytes())
    written = os.stat(source.path).st_ctime_ns + (1 if kept else -1)
    os.utime(path, ns=(written, written))
    return journals.find(source, SourceState.of(os.stat(source.path)))


def test_an_old_journal_is_resumed_where_the_source_was_not_touched_since(source: UploadSource) -> None:
    state = found(source)
    assert state is not None
    assert state.started is not None


def test_an_old_journal_is_not_resumed_where_the_source_was_touched_since(source: UploadSource) -> None:
    state = found(source, kept=False)
    assert state is not None
    assert (state.file_id, state.started) == (UUID(int=7), None)


@pytest.mark.parametrize("change", ["size", "time"])
def test_no_journal_is_resumed_where_size_or_time_changed(source: UploadSource, change: str) -> None:
    if change == "size":
        os.truncate(source.path, SIZE - 1)
    else:
        os.utime(source.path, ns=(0, 5))
    state = found(source)
    assert state is not None
    assert (state.file_id, state.started) == (UUID(int=7), None)


def test_a_journal_with_digests_of_the_source_needs_no_file_times(source: UploadSource) -> None:
    journals = UploadJournals(source.path.parent, USER, BOX)
    state = SourceState.of(os.stat(source.path))
    file = journals.begin(source, state, STARTED, None)
    file.add_parts({1: part(1).facts()})
    file.close()
    os.utime(file.path, ns=(0, 0))
    assert journals.find(source, state) == UploadState(Stage.SENDING, STARTED.file_id, STARTED, {1: part(1)})


def test_a_new_journal_differs_from_an_old_one_by_the_digests_of_the_source_alone(source: UploadSource) -> None:
    """So that an older version, where both are installed, resumes it too."""
    journals = UploadJournals(source.path.parent, USER, BOX)
    file = journals.begin(source, SourceState.of(os.stat(source.path)), STARTED, None)
    file.add_parts({1: part(1).facts()})
    file.close()
    new = read_journal(file.path.read_bytes())
    assert new is not None
    assert new.head.keys() == old("many").head.keys()
    assert new.parts[1].keys() - {"plain"} == old("many").parts[1].keys()
