"""What the archive's clients are doing, so that work in the background can give way to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Traffic:
    """Counts the requests under way."""

    def __init__(self) -> None:
        self._under_way = 0
        self._last = float("-inf")

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is under way in this block."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._last = trio.current_time()

    async def lull(self, *, quiet: float, patience: float) -> None:
        """Wait until there was no request for ``quiet`` seconds, but no longer than ``patience`` seconds."""
        with trio.move_on_after(patience):
            while (left := self._until_quiet(quiet)) > 0:  # noqa: ASYNC110 - time is what is waited for
                await trio.sleep(left)

    def _until_quiet(self, quiet: float) -> float:
        return quiet if self._under_way else self._last + quiet - trio.current_time()
