"""File upload boxes: created by the archive's stewards, open until they lock them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import attrs

from connector.archive.database import Database
from connector.archive.errors import BoxNotFound, BoxStateError, BoxVersionOutdated, IncompleteUploads
from connector.archive.jobs import schedule
from connector.archive.models import Box, BoxState
from connector.archive.settings import Clock, utc_now
from persistence.errors import NotFound

_MAX_NAMED = 10


def box_state_error(box: Box) -> BoxStateError:
    """The refusal of what is possible in an open box only."""
    return BoxStateError(f"The box {box.id!r} is {box.state}.", box_id=box.id, box_state=box.state)


@attrs.frozen(eq=False)
class BoxService:
    """Creates, finds, locks, unlocks and archives boxes."""

    _database: Database
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
        return await self._database.boxes.insert(box)

    async def get(self, box_id: str) -> Box:
        """Return the box with this id.

        Raises:
            BoxNotFound: There is none.
        """
        try:
            return await self._database.boxes.get_by_id(box_id)
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
            raise box_state_error(box)
        return box

    def find_all(self, **where: Any) -> AsyncIterator[Box]:
        """All boxes with these field values, the oldest first."""
        return self._database.boxes.find_all(where, sort=[("created", 1)])

    async def set_state(self, box_id: str, state: BoxState, *, version: int | None = None) -> Box:
        """Open, lock or archive a box. When it is archived, its interrogated uploads become due to be registered.

        Args:
            box_id: The box.
            state: Its new state. An archived box stays archived.
            version: That of the box as the caller read it, if the caller did.

        Raises:
            BoxVersionOutdated: The box has changed since.
            BoxStateError: It is archived.
            IncompleteUploads: It is to be archived and has uploads that are not interrogated yet.
        """
        now = await self._database.factory.now()

        async def change(database: Database) -> Box:
            box = await BoxService(database, self._clock).get(box_id)
            if box.state == "archived" and state != "archived":
                raise box_state_error(box)
            if version not in (None, box.version):
                raise BoxVersionOutdated(f"The box {box_id!r} has changed in the meantime.", box_id=box_id)
            if state == "archived":
                await _check_complete(database, box)
                await schedule(database, box.id, "archive_box", hub=box.storage_alias, now=now)
            changed = await database.boxes.compare_and_set(
                box_id, expected={"version": box.version}, changes={"state": state}, increments={"version": 1}
            )
            assert changed is not None  # read in the same transaction
            return changed

        return await self._database.transact(change)


async def _check_complete(database: Database, box: Box) -> None:
    where = {"box_id": box.id, "state": {"$in": ["init", "inbox"]}}
    found = database.uploads.find_all(where, sort=["alias"], limit=_MAX_NAMED)
    names = ", ".join([f"{upload.alias} ({upload.state})" async for upload in found])
    if names:
        left = await database.uploads.count(where) - _MAX_NAMED
        more = f" and {left} more" if left > 0 else ""
        raise IncompleteUploads(f"The box {box.id} holds incomplete uploads: {names}{more}.", box_id=box.id)
