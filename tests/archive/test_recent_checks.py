from __future__ import annotations

import pytest
import trio

from connector.archive.recent_checks import RecentChecks

pytestmark = pytest.mark.trio


async def test_what_was_there_counts_for_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    checks = RecentChecks()
    assert "object" not in checks
    checks.add("object")
    await trio.sleep(59)
    assert "object" in checks
    await trio.sleep(2)
    assert "object" not in checks


async def test_what_was_looked_up_longest_ago_makes_room() -> None:
    checks = RecentChecks(most=3)
    for name in ("a", "b", "c", "a", "d"):
        checks.add(name)
    assert [name for name in "abcd" if name in checks] == ["a", "c", "d"]
