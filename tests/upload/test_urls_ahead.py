"""URLs of parts are fetched once, for parts that have not begun, and used while they are fresh."""

from __future__ import annotations

import pytest
import trio

from connector.upload.sending import UrlsAhead

pytestmark = pytest.mark.trio


class Archive:
    def __init__(self) -> None:
        self.asked: list[int] = []

    async def fetch(self, number: int) -> str:
        self.asked.append(number)
        await trio.sleep(0.25)
        return f"url {number}"


async def test_each_part_that_is_sent_fetches_the_url_of_one_that_follows(autojump_clock: object) -> None:
    archive = Archive()
    urls = UrlsAhead(iter([1, 2, 4, 5, 6]), archive.fetch)
    assert [urls.take(number) for number in (1, 2)] == [None, None]
    for _ in range(2):
        await urls.fetch_next()
    assert [urls.take(number) for number in (4, 5)] == ["url 4", "url 5"]
    assert urls.take(4) is None, "a URL that was refused is not used again"
    for _ in range(2):
        await urls.fetch_next()
    assert archive.asked == [4, 5, 6]


async def test_where_parts_take_long_nothing_is_fetched_ahead(autojump_clock: object) -> None:
    archive = Archive()
    urls = UrlsAhead(iter(range(1, 9)), archive.fetch)
    urls.take(1)
    await urls.fetch_next()
    await trio.sleep(11)
    assert urls.take(2) is None
    await urls.fetch_next()
    assert archive.asked == [2]
