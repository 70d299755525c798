"""The same batch of uploads again: one listing tells what is in the box; content is compared on request."""

from __future__ import annotations

import os
from typing import Any

import pytest

from connector.errors import RefusedError, UsageError
from connector.transfer import Outcome
from connector.upload import UploadedFile, UploadSource
from tests.upload.conftest import Desk

pytestmark = pytest.mark.trio


async def uploaded(desk: Desk, *sources: UploadSource, **options: Any) -> list[Outcome[UploadedFile]]:
    desk.archive.counts.clear()
    async with desk.session() as session:
        return await session.upload(sources, **options)


def some(desk: Desk, count: int = 3) -> list[UploadSource]:
    return [desk.file(1000 + number, f"{number}.bin") for number in range(count)]


def forget(desk: Desk) -> None:
    for path in (desk.state / "finished").iterdir():
        path.unlink()


async def test_what_an_earlier_run_sent_costs_one_listing(desk: Desk) -> None:
    sources = some(desk)
    first = [outcome.unwrap() for outcome in await uploaded(desk, *sources)]
    again = [outcome.unwrap() for outcome in await uploaded(desk, *sources)]
    assert [file.already_there for file in first] == [None] * 3
    assert [file.already_there for file in again] == ["record"] * 3
    assert [(file.file_id, file.sha256) for file in again] == [(file.file_id, file.sha256) for file in first]
    assert desk.archive.counts == {"values": 1, "package": 1, "order": 1, "list": 1}
    assert [outcome.label for outcome in desk.notes.outcomes[3:]] == ["0.bin", "1.bin", "2.bin"]


async def test_outcomes_keep_the_order_of_the_sources(desk: Desk) -> None:
    sources = some(desk, 4)
    await uploaded(desk, sources[1], sources[2])
    outcomes = await uploaded(desk, *sources)
    assert [outcome.unwrap().alias for outcome in outcomes] == [source.alias for source in sources]
    assert [bool(outcome.unwrap().already_there) for outcome in outcomes] == [False, True, True, False]


@pytest.mark.parametrize("alias", ["new\nline", "no text \udcff", " ", "x" * 256])
async def test_a_name_that_is_no_alias_fails_alone(desk: Desk, alias: str) -> None:
    good = desk.file(1000, "good.bin")
    bad, fine = await uploaded(desk, UploadSource(good.path, alias), good)
    assert isinstance(bad.error, UsageError)
    assert "alias" in bad.error.message
    assert fine.ok
    async with desk.session() as session:
        bad, fine = await session.plan_upload([UploadSource(good.path, alias), good])  # type: ignore[assignment]
    assert isinstance(bad.error, UsageError)
    assert fine.ok


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_what_failed_in_the_archive_is_sent_again(desk: Desk, state: str) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    next(upload for upload in desk.archive.uploads.values() if upload.alias == "1.bin").state = state
    outcomes = await uploaded(desk, *sources)
    assert [outcome.unwrap().already_there for outcome in outcomes] == ["record", None, "record"]


async def test_a_journal_that_a_kill_left_is_cleared_up(desk: Desk) -> None:
    """Killed between the note and the removal of the journal: the usual way is taken, which removes it."""
    source = desk.file(2 * desk.PART)
    desk.archive.stick("complete")
    await desk.cancelled_at(source)
    [journal] = [path for path in desk.journals if path.suffix == ".upload"]
    left = journal.read_bytes()
    assert (await uploaded(desk, source))[0].ok
    assert desk.journals == []
    journal.write_bytes(left)
    assert (await uploaded(desk, source))[0].ok
    assert desk.archive.counts["put"] == 0
    assert desk.journals == []


async def test_an_archive_that_refuses_to_list_is_asked_once_for_all(desk: Desk) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    desk.archive.fail("list", 401, times=100)
    outcomes = await uploaded(desk, *sources)
    assert [outcome.unwrap().already_there for outcome in outcomes] == ["record"] * 3
    assert desk.archive.counts["list"] <= 2
    assert desk.archive.counts["put"] == 0


async def test_the_content_is_compared_on_request(desk: Desk) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    outcomes = await uploaded(desk, *sources, verify_existing=True)
    assert [outcome.unwrap().already_there for outcome in outcomes] == ["sha256"] * 3
    assert desk.archive.counts["put"] == 0


async def test_a_source_that_differs_fails_alone(desk: Desk) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    path = sources[1].path
    state = path.stat()
    path.write_bytes(b"x" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    outcomes = await uploaded(desk, *sources, verify_existing=True)
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    error = outcomes[1].error
    assert isinstance(error, RefusedError)
    assert "other content" in error.message
    assert desk.archive.counts["put"] == 0


async def test_what_nobody_knows_is_not_called_verified(desk: Desk) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    forget(desk)
    outcomes = await uploaded(desk, *sources, verify_existing=True)
    assert [(outcome.unwrap().already_there, outcome.unwrap().sha256) for outcome in outcomes] == [("size", None)] * 3


async def test_overwriting_goes_on_where_it_was_interrupted(desk: Desk) -> None:
    sources = some(desk)
    await uploaded(desk, *sources)
    forget(desk)
    outcomes = await uploaded(desk, *sources[:2], overwrite=True)
    assert [outcome.unwrap().already_there for outcome in outcomes] == [None, None]
    outcomes = await uploaded(desk, *sources, overwrite=True)
    assert [outcome.unwrap().already_there for outcome in outcomes] == ["record", "record", None]
    assert desk.archive.counts["put"] == 1


async def test_replacing_and_verifying_are_two_things(desk: Desk) -> None:
    with pytest.raises(UsageError):
        await uploaded(desk, *some(desk), overwrite=True, verify_existing=True)
