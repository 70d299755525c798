"""What was found in the storage a short while ago, so that it need not be asked for every request."""

from __future__ import annotations

import attrs
import trio

_LIFETIME = 60.0


@attrs.frozen(eq=False)
class RecentChecks:
    """Names of uploads and objects that were there within the last minute.

    A storage loses things seldom (lifecycle rules, a restored backup) and for good. So this process notices a minute
    late at most, and another process need not know.

    Args:
        most: How many names are kept.
    """

    _most: int = 10_000
    _times: dict[str, float] = attrs.field(factory=dict, init=False)

    def __contains__(self, name: str) -> bool:
        """Whether it was there within the last minute."""
        return trio.current_time() - self._times.get(name, -_LIFETIME) < _LIFETIME

    def add(self, name: str) -> None:
        """Note that it is there."""
        self._times.pop(name, None)
        self._times[name] = trio.current_time()
        if len(self._times) > self._most:
            del self._times[next(iter(self._times))]
