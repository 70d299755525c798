"""URLs of parts that are fetched while the parts before them are sent, which saves a round trip for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio

_MAX_AGE = 10.0
"""Seconds for which such a URL is used: presigned ones live for about a minute."""


class UrlsAhead:
    """At most one URL for each part that is being sent. `missing`: the numbers of the parts in their order.

    If parts take so long that a URL gets too old, no further ones are fetched ahead.
    """

    def __init__(self, missing: Iterator[int], fetch: Callable[[int], Awaitable[str]]) -> None:
        self._missing = missing
        self._fetch = fetch
        self._begun = 0
        self._urls: dict[int, tuple[float, str]] = {}
        self._in_time = True

    def take(self, number: int) -> str | None:
        """The URL of a part that is about to be sent, if it was fetched ahead."""
        self._begun = max(self._begun, number)
        fetched, url = self._urls.pop(number, (trio.current_time(), None))
        if trio.current_time() - fetched > _MAX_AGE:
            self._in_time, url = False, None
        return url

    async def fetch_next(self) -> None:
        """Fetch the URL of the next part for which that was not done and that has not begun, if there is one."""
        number = next((number for number in self._missing if number > self._begun), None) if self._in_time else None
        if number is not None:
            url = await self._fetch(number)
            self._urls[number] = trio.current_time(), url
