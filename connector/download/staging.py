"""Waiting until the archive has staged a file, and keeping its address fresh from then on."""

from __future__ import annotations

from collections.abc import Callable

import trio

from connector.clients.downloads import DownloadClient, Staging
from connector.clients.leases import CachedValue, Expiring
from connector.clients.work_orders import WorkOrder
from connector.errors import BrokenError
from connector.transfer import NotReadyError
from connector.transfer.retry import Backoff
from connector.wire.payloads import DrsObject

_SHORTEST_WAIT = 0.2
_LONGEST_WAIT = 300.0
_BACKOFF = Backoff()


class StagedObject:
    """A file in the archive, as it can be fetched at the moment.

    ``patience`` bounds the whole wait for staging (seconds); ``waiting`` is told of each wait. The archive's word
    (``Retry-After``) is kept between 0.2 s and 5 min, so that neither a 0 nor a year does harm, and made a little
    longer by chance: files that were asked for together are not to be asked for together each time. ``uniform`` draws
    from [0, 1).
    """

    def __init__(
        self,
        client: DownloadClient,
        order: CachedValue[WorkOrder],
        accession: str,
        *,
        patience: float,
        waiting: Callable[[float], None],
        uniform: Callable[[], float],
    ) -> None:
        self._client = client
        self._order = order
        self._accession = accession
        self._patience = patience
        self._waiting = waiting
        self._uniform = uniform
        self._lease: CachedValue[DrsObject] = CachedValue(self._fetch)
        self._asked_first: float | None = None
        self._not_before = 0.0
        self._postpones = False

    async def get(self) -> DrsObject:
        """The object with an address that is good now; waits while the archive stages it.

        Raises :class:`~connector.errors.BrokenError` if that takes longer than the patience.
        """
        return await self._lease.get()

    async def get_if_staged(self) -> DrsObject:
        """Like :meth:`get`, but raises :class:`~connector.transfer.NotReadyError` instead of waiting."""
        self._postpones = True
        try:
            return await self._lease.get()
        finally:
            self._postpones = False

    def refuse(self, drs: DrsObject) -> None:
        """The address in ``drs`` was refused: ask for a new one next time."""
        self._lease.refuse(drs)

    async def _fetch(self) -> Expiring[DrsObject]:
        while True:
            now = trio.current_time()
            if self._not_before > now:
                await trio.sleep_until(self._not_before)
            self._asked_first = now if self._asked_first is None else self._asked_first
            answer = await self._client.object(self._order, self._accession)
            if not isinstance(answer, Staging):
                self._asked_first = None
                return answer
            wait = _BACKOFF.wait_asked(min(max(answer.seconds, _SHORTEST_WAIT), _LONGEST_WAIT), self._uniform)
            self._not_before = trio.current_time() + wait
            if trio.current_time() + wait > self._asked_first + self._patience:
                raise BrokenError(
                    f"The archive did not stage {self._accession} within {self._patience:g} seconds.",
                    hint="Run the same command again later.",
                )
            if self._postpones:
                raise NotReadyError("The archive is staging the file.", seconds=wait)
            self._waiting(wait)
