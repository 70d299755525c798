"""Copy the staged objects of an archive into a directory, one file each, for nginx to serve.

python -m benchmarks.contestants.export_staged ARCHIVE_ROOT TARGET
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import trio

from connector.archive.assembly import open_archive
from connector.archive.settings import DOWNLOAD_BUCKET, ArchiveSettings


async def main(root: Path, target: Path) -> None:
    async with open_archive(ArchiveSettings(root)) as archive:
        async for stat in archive.storage.list_objects(DOWNLOAD_BUCKET):
            source = await archive.storage.local_path(DOWNLOAD_BUCKET, stat.object_id)  # type: ignore[attr-defined]
            path = target / stat.object_id
            if not path.exists():
                try:
                    os.link(source, path)
                except OSError:
                    shutil.copyfile(source, path)
            print(stat.object_id, stat.size)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), Path(sys.argv[2]))
