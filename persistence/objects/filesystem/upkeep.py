"""Cleaning up after killed processes, for the one process that writes to a root."""

from __future__ import annotations

from typing import Final

from persistence.errors import BucketNotFound
from persistence.objects.filesystem.leftovers import Leftovers
from persistence.objects.filesystem.threaded_disk import ThreadedDisk

_PAGE: Final = 500


class Upkeep(ThreadedDisk):
    """Methods of the storage beyond the protocol."""

    async def settle(self) -> None:
        """Finish completions and aborts that a killed process left half-done.

        To be called by the one process that writes, before its first write. An upload that was being completed is open
        again afterwards, with all its parts, unless its object exists.
        """
        await self._run(Leftovers(self._disk).settle)

    async def remove_leftovers(self) -> int:
        """Remove files of killed processes that no record names; returns the bytes of content removed.

        May run while this process writes and while others read. Others must not write at the same time: content that
        they have not named yet would be removed.
        """
        leftovers = Leftovers(self._disk)
        await self._run(leftovers.empty_trash)
        freed = 0
        for bucket in await self.list_buckets():
            try:
                freed += await self._remove_unnamed(leftovers, bucket)
            except BucketNotFound:
                continue  # deleted meanwhile
        return freed

    async def _remove_unnamed(self, leftovers: Leftovers, bucket: str) -> int:
        named = await self._run(leftovers.named_by_uploads, bucket)
        names = await self._run(self._disk.record_names, bucket)
        for first in range(0, len(names), _PAGE):
            named |= await self._run(leftovers.named_by_objects, bucket, names[first : first + _PAGE])
        freed = 0
        for folder in await self._run(leftovers.content_folders, bucket):
            freed += await self._run(leftovers.remove_content, folder, named)
        return freed
