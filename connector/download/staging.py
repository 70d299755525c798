"""One file of the archive: its address once it is staged, renewed before it expires, and its bytes."""

from __future__ import annotations

import trio

from connector.clients.cached_value import CachedValue, Expiring
from connector.clients.downloads import Staging
from connector.clients.objects import UrlRefusedError
from connector.download.request import DownloadContext
from connector.errors import BrokenError, ConnectorError, IntegrityError
from connector.parts import Part
from connector.transfer import Backoff, NotReadyError, Progress
from connector.wire.payloads import DrsObject

_MIN_WAIT = 0.2
_MAX_WAIT = 300.0
_BACKOFF = Backoff()


class StagedObject:
    """A file in the archive that is staged or being staged.

    The wait that the archive requests (`Retry-After`) is bounded to 0.2 s to 5 min and lengthened with jitter, which
    spreads the requests for files that were requested at the same time. `timeout` bounds the whole wait for staging
    (seconds).
    """

    def __init__(self, context: DownloadContext, accession: str, *, timeout: float = 86_400.0) -> None:
        self._context = context
        self._accession = accession
        self._timeout = timeout
        self._token = context.tokens.download_token(accession)
        self._address: CachedValue[DrsObject] = CachedValue(self._fetch_address)
        self._staging_since: float | None = None
        self._next_request = 0.0
        self._raises_while_staging = False
        self._size = 0
        self._filled: dict[int, int] = {}

    async def get_if_staged(self) -> DrsObject:
        """The object with an address that is valid now.

        Raises:
            NotReadyError: While the archive stages it.
            BrokenError: Once that has taken longer than the timeout.
        """
        self._raises_while_staging = True
        try:
            return await self._address.get()
        finally:
            self._raises_while_staging = False

    async def header(self) -> bytes:
        """The file's Crypt4GH header, encrypted for the user's key."""
        return await self._context.downloads.envelope(self._token, self._accession)

    def begin(self, size: int) -> None:
        """Begin to fetch the object, which has `size` bytes, from its first part."""
        self._size = size
        self._filled.clear()

    async def fetch(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fill `buffer` with `part`.

        What a failed call has received stays in the buffer, and the next call requests the rest only: otherwise a part
        would never be complete over a connection that is closed every few megabytes.
        """
        filled = self._filled.pop(part.number, 0)
        if filled:
            progress(filled)
        drs = await self._address.get()
        if drs.size != self._size:
            raise IntegrityError(
                f"{self._accession} changed in the archive while it was fetched.", hint="Fetch it again."
            )
        assert drs.url is not None

        def count(size: int) -> None:
            nonlocal filled
            filled += size
            progress(size)

        try:
            start, rest = part.start + filled, buffer[filled:]
            await self._context.objects.fetch_into(drs.url, start, part.stop, rest, count, size=self._size)
        except ConnectorError as error:
            if isinstance(error, UrlRefusedError):
                self._address.refuse(drs)
            if 0 < filled < part.size:
                self._filled[part.number] = filled
            raise

    async def _fetch_address(self) -> Expiring[DrsObject]:
        run = self._context.run
        while True:
            now = trio.current_time()
            if self._next_request > now:
                await trio.sleep_until(self._next_request)
            self._staging_since = now if self._staging_since is None else self._staging_since
            answer = await self._context.downloads.object(self._token, self._accession)
            if not isinstance(answer, Staging):
                self._staging_since = None
                return answer
            wait = _BACKOFF.wait_requested(min(max(answer.seconds, _MIN_WAIT), _MAX_WAIT), run.uniform)
            self._next_request = trio.current_time() + wait
            if self._next_request > self._staging_since + self._timeout:
                raise BrokenError(
                    f"The archive did not stage {self._accession} within {self._timeout:g} seconds.",
                    hint="Run the same command again later.",
                )
            if self._raises_while_staging:
                raise NotReadyError("The archive is staging the file.", seconds=wait)
            run.observer.waiting(self._accession, wait, "The archive is staging the file.")
