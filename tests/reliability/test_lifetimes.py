"""Lifetimes of tokens and addresses, and how often an archive is asked when it refuses: requests are counted."""

from __future__ import annotations

import os

import pytest

from tests.reliability.conftest import Scripted
from tests.support.fake_archive import FakeArchive
from tests.support.observers import noting


class TestRefusedTokens:
    """RFC 9110, section 15.5.2: a refused request may be repeated with other credentials."""

    def test_a_token_that_is_refused_once_is_replaced_without_a_pause(self, scripted: Scripted) -> None:
        scripted.archive.add_file("GHGAF01", os.urandom(300_000))
        scripted.archive.fail("object", 401, {"detail": "expired"})
        done = scripted.download(CONNECTOR_RETRIES="0")
        assert done.code == 0, done.err
        assert scripted.archive.counts["object"] == 2
        assert scripted.archive.counts["order"] == 2

    def test_the_second_fresh_token_that_is_refused_is_final(self, scripted: Scripted) -> None:
        scripted.archive.package_type = "upload"
        scripted.archive.fail("list", 401, {"detail": "signed with another key"}, times=1000)
        done = scripted.program.run("status", "--in-box")
        assert done.code == 4, done.err
        assert scripted.archive.orders == ["view"] * 2
        assert scripted.archive.counts["list"] == 2


def times_of(archive: FakeArchive, kind: str) -> list[float]:
    """Have it noted when requests of this kind come in."""
    times: list[float] = []
    archive.fail(kind, 500, times=10**9, when=noting(times))
    return times


class TestRefusalsAreShared:
    """Envelope and address of a file are asked for at the same time, with the same token."""

    def test_a_failing_token_endpoint_is_asked_as_often_as_the_retries_say(self, scripted: Scripted) -> None:
        scripted.archive.add_file("GHGAF01", b"abc")
        scripted.archive.fail("order", 503, times=1000)
        done = scripted.download(CONNECTOR_RETRIES="2")
        assert done.code == 5, done.err
        assert scripted.archive.counts["order"] == 3

    def test_a_pause_too_long_to_wait_for_ends_it_for_all(self, scripted: Scripted) -> None:
        scripted.archive.add_file("GHGAF01", b"abc")
        scripted.archive.fail("order", 503, times=1000, retry_after="3600")
        done = scripted.download()
        assert done.code == 5, done.err
        assert scripted.archive.counts["order"] == 1

    @pytest.mark.parametrize("status", [429, 503])
    def test_no_one_asks_again_before_the_pause_is_over(self, scripted: Scripted, status: int) -> None:
        scripted.archive.add_file("GHGAF01", b"abc")
        times = times_of(scripted.archive, "order")
        scripted.archive.fail("order", status, retry_after="2")
        done = scripted.download()
        assert done.code == 0, done.err
        assert len(times) == 2
        assert 2.0 <= times[1] - times[0] < 20

    def test_files_announced_to_one_box_keep_the_pause_that_one_was_asked_for(self, scripted: Scripted) -> None:
        for number in range(8):
            (scripted.folder / f"{number}.bin").write_bytes(b"abc")
        times = times_of(scripted.archive, "create")
        scripted.archive.fail("create", 429, retry_after="2")
        done = scripted.upload(*(f"{number}.bin" for number in range(8)))
        assert done.code == 0, done.err
        assert len(times) == 9
        assert sum(at < times[0] + 2.0 for at in times) <= 5, "those that were on their way"


class TestSpreading:
    def test_parts_that_were_refused_together_come_back_one_by_one(self, scripted: Scripted) -> None:
        scripted.archive.add_file("GHGAF01", os.urandom(2_200_000))
        times = times_of(scripted.archive, "get")
        scripted.archive.fail("get", 503, times=16, retry_after="2")
        done = scripted.download(CONNECTOR_MAX_CONCURRENCY="16")
        assert done.code == 0, done.err
        first, back = times[:16], times[16:32]
        assert min(back) >= min(first) + 2.0
        assert max(back) - min(back) > 0.4, "16 parts of 17 come back over a second"
