"""What the one process that writes to a root does when it begins: cleaning up after those that were killed."""

from __future__ import annotations

from functools import partial
from typing import Final

from persistence.errors import BucketNotFound
from persistence.objects.filesystem.leftovers import Leftovers
from persistence.objects.filesystem.threaded_disk import ThreadedDisk

_PAGE: Final = 500


class Upkeep(ThreadedDisk):
    """Methods of the storage beyond the protocol, for such a process."""

    async def settle(self) -> None:
        """Bring completions and aborts to an end that a killed process left half-done.

        For the one process that writes, before it begins. An upload that was being completed is open again afterwards,
        with all its parts, unless its object is there.
        """
        await self._run(lambda: Leftovers(self._disk).settle())

    async def remove_leftovers(self) -> int:
        """Remove the files that killed processes left and that nothing names; give the bytes of content.

        May run while this process works and while others read. Others must not write objects meanwhile: content that
        they are about to name would be taken for such a file.
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
        named = await self._run(lambda: leftovers.named_by_uploads(bucket))
        names = await self._run(lambda: self._disk.record_names(bucket))
        for first in range(0, len(names), _PAGE):
            named |= await self._run(partial(leftovers.named_by_objects, bucket, names[first : first + _PAGE]))
        freed = 0
        for folder in await self._run(lambda: leftovers.content_folders(bucket)):
            freed += await self._run(partial(leftovers.remove_content, folder, named))
        return freed
