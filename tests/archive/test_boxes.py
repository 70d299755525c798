from __future__ import annotations

import pytest

from connector.archive.errors import BoxNotFound, BoxStateError, BoxVersionOutdated
from tests.support.memory_archive import memory_archive

pytestmark = pytest.mark.trio


async def test_a_box_is_locked_and_opened_again() -> None:
    async with memory_archive() as archive:
        box = await archive.boxes.create(title="t", storage_alias="embedded")
        assert (await archive.boxes.get_open(box.id)) == box
        await archive.boxes.set_state(box.id, "locked")
        with pytest.raises(BoxStateError) as caught:
            await archive.boxes.get_open(box.id)
        assert caught.value.data == {"box_id": box.id, "box_state": "locked"}
        assert (await archive.boxes.set_state(box.id, "open")).version == 3


async def test_an_outdated_version_changes_nothing() -> None:
    async with memory_archive() as archive:
        box = await archive.boxes.create(title="t", storage_alias="embedded")
        await archive.boxes.set_state(box.id, "locked", version=1)
        with pytest.raises(BoxVersionOutdated) as caught:
            await archive.boxes.set_state(box.id, "open", version=1)
        assert (caught.value.status, caught.value.exception_id) == (409, "boxVersionOutdated")
        assert (await archive.boxes.get(box.id)).state == "locked"


async def test_nothing_leads_out_of_the_archived_state() -> None:
    async with memory_archive() as archive:
        box = await archive.boxes.create(title="t", storage_alias="embedded")
        await archive.boxes.set_state(box.id, "archived")
        with pytest.raises(BoxStateError):
            await archive.boxes.set_state(box.id, "open")


async def test_an_unknown_box() -> None:
    async with memory_archive() as archive:
        with pytest.raises(BoxNotFound):
            await archive.boxes.get("nope")
