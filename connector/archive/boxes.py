"""File upload boxes: created by the archive's stewards, open until they lock them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import attrs

from connector.archive.errors import BoxNotFound, BoxStateError, BoxVersionOutdated
from connector.archive.models import Box, BoxState
from connector.archive.settings import Clock, utc_now
from persistence.documents import Dao
from persistence.errors import NotFound


@attrs.frozen(eq=False)
class BoxService:
    """Creates, finds, locks, unlocks and archives boxes."""

    _boxes: Dao[Box]
    _clock: Clock

    async def create(self, *, title: str, storage_alias: str, max_size: int | None = None) -> Box:
        """Create an open box for files of one storage alias, with at most `max_size` bytes of plaintext in all."""
        box = Box(
            id=str(uuid4()),
            rdub_id=str(uuid4()),
            title=title,
            storage_alias=storage_alias,
            created=utc_now(self._clock),
            max_size=max_size,
        )
        return await self._boxes.insert(box)

    async def get(self, box_id: str) -> Box:
        """Return the box with this id.

        Raises:
            BoxNotFound: There is none.
        """
        try:
            return await self._boxes.get_by_id(box_id)
        except NotFound as error:
            raise BoxNotFound(f"There is no box {box_id!r}.", box_id=box_id) from error

    async def get_open(self, box_id: str) -> Box:
        """Return an open box.

        Raises:
            BoxNotFound: There is none with this id.
            BoxStateError: It is not open.
        """
        box = await self.get(box_id)
        if box.state != "open":
            raise BoxStateError(f"The box {box_id!r} is {box.state}.", box_id=box_id, box_state=box.state)
        return box

    def find_all(self, **where: Any) -> AsyncIterator[Box]:
        """All boxes with these field values, the oldest first."""
        return self._boxes.find_all(where, sort=[("created", 1)])

    async def set_state(self, box_id: str, state: BoxState, *, version: int | None = None) -> Box:
        """Open, lock or archive a box.

        Args:
            box_id: The box.
            state: Its new state. An archived box stays archived.
            version: That of the box as the caller read it, if the caller did.

        Raises:
            BoxVersionOutdated: The box has changed since.
            BoxStateError: It is archived.
        """
        box = await self.get(box_id)
        if box.state == "archived" and state != "archived":
            raise BoxStateError(f"The box {box_id!r} is archived.", box_id=box_id, box_state=box.state)
        changed = None
        if version is None or version == box.version:
            changed = await self._boxes.compare_and_set(
                box_id, expected={"version": box.version}, changes={"state": state, "version": box.version + 1}
            )
        if changed is None:
            raise BoxVersionOutdated(f"The box {box_id!r} has changed in the meantime.", box_id=box_id)
        return changed
