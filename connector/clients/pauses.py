"""Pauses that servers ask for (``Retry-After``), kept by everybody who asks for the same resource."""

from __future__ import annotations

from collections.abc import Callable

import trio

from connector.clients.exchange import ApiRequest
from connector.errors import ConnectorError
from connector.transfer import OverloadedError, Retrier


class Pauses:
    """Knows for each method and address until when it must not be asked again (RFC 9110, section 10.2.3).

    The task that was refused waits in its own retry loop. These pauses are for all others, who would ask in between:
    other tasks, and the same one after its last try. ``retrier`` says how long a pause may be at most, and spreads
    those who wait for its end. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, retrier: Retrier, clock: Callable[[], float] = trio.current_time) -> None:
        self._retrier = retrier
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, request: ApiRequest, error: ConnectorError) -> None:
        """Take note of the pause that the answer to ``request`` asks for, if it does."""
        if error.advice.after:
            now = self._clock()
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._until[request.method, request.url] = now + error.advice.after

    async def keep(self, request: ApiRequest) -> bool:
        """Wait until ``request`` may be sent; whether there was anything to wait for.

        Raises :class:`~connector.transfer.OverloadedError` instead if that takes longer than anything is waited for.
        """
        waited = False
        while (left := self._left(request)) > 0:
            delay = self._retrier.asked_delay(left)
            if delay is None:
                raise OverloadedError(
                    f"{request.server} is not to be asked again for {left:.0f} seconds, as it has said.",
                    hint="The archive is busy or down; try again later.",
                )
            await trio.sleep(delay)
            waited = True
        return waited

    def _left(self, request: ApiRequest) -> float:
        return self._until.get((request.method, request.url), 0.0) - self._clock()
