"""Lifetimes of tokens and addresses, and how often an archive is asked when it refuses: requests are counted."""

from __future__ import annotations

import os


class TestRefusedTokens:
    """RFC 9110, section 15.5.2: a refused request may be repeated with other credentials."""

    def test_a_token_that_is_refused_once_is_replaced_without_a_pause(self, scripted):
        scripted.archive.add_file("GHGAF01", os.urandom(300_000))
        scripted.archive.fail("object", 401, {"detail": "expired"})
        done = scripted.download(CONNECTOR_RETRIES="0")
        assert done.code == 0, done.err
        assert scripted.archive.counts["object"] == 2
        assert scripted.archive.counts["order"] == 2

    def test_the_second_fresh_token_that_is_refused_is_final(self, scripted):
        scripted.archive.package_type = "upload"
        scripted.archive.fail("list", 401, {"detail": "signed with another key"}, times=1000)
        done = scripted.program.run("status", "--in-box")
        assert done.code == 4, done.err
        assert scripted.archive.orders == ["view"] * 2
        assert scripted.archive.counts["list"] == 2
