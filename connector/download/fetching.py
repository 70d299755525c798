"""Fetching the sealed bytes of one part, going on inside it after a cut."""

from __future__ import annotations

from connector.clients.objects import ObjectClient, UrlRefusedError
from connector.download.staging import StagedObject
from connector.errors import ConnectorError, IntegrityError
from connector.parts import Part
from connector.transfer import Progress


class PartFetcher:
    """Fills buffers with parts of one staged object of ``size`` bytes.

    When a try fails in the middle, what it brought stays in the buffer and the next try asks for the rest only: over a
    line that is cut every few megabytes a part would else never arrive.
    """

    def __init__(self, staged: StagedObject, objects: ObjectClient, *, label: str, size: int) -> None:
        self._staged = staged
        self._objects = objects
        self._label = label
        self._size = size
        self._filled: dict[int, int] = {}

    async def fetch(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Fill ``buffer`` with ``part``. After an error it has to be called again with the same buffer as it is."""
        filled = self._filled.pop(part.number, 0)
        if filled:
            progress(filled)
        drs = await self._staged.get()
        if drs.size != self._size:
            raise IntegrityError(f"{self._label} changed in the archive while it was fetched.", hint="Fetch it again.")
        assert drs.url is not None

        def count(size: int) -> None:
            nonlocal filled
            filled += size
            progress(size)

        try:
            start, rest = part.start + filled, buffer[filled:]
            await self._objects.get_range(drs.url, start, part.stop, rest, count, size=self._size)
        except ConnectorError as error:
            if isinstance(error, UrlRefusedError):
                self._staged.refuse(drs)
            if 0 < filled < part.size:
                self._filled[part.number] = filled
            raise
