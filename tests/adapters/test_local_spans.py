from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from connector.adapters.local_spans import find_local_object
from persistence.errors import ObjectNotFound
from persistence.objects.filesystem import FilesystemStorage, UrlSigner

pytestmark = pytest.mark.trio


async def test_spans_cover_exactly_the_bytes_asked_for(tmp_path: Path) -> None:
    signer = UrlSigner("http://here", b"secret-of-the-test-signer", time.time)
    async with FilesystemStorage(tmp_path, signing=signer, min_part_size=1) as storage:
        await storage.create_bucket("bucket")
        parts = [os.urandom(size) for size in (10, 10, 3)]
        upload_id = await storage.start_upload("bucket", "one")
        for number, part in enumerate(parts, start=1):
            await storage.put_part("bucket", "one", upload_id, number, part)
        stat = await storage.complete_upload("bucket", "one", upload_id)
        found = await find_local_object(storage, "bucket", "one")
        assert (found.size, found.etag) == (23, stat.etag)
        whole = b"".join(parts)
        for start in range(24):
            for stop in range(start, 24):
                pieces = [span.path.read_bytes()[span.start : span.stop] for span in found.spans(start, stop)]
                assert b"".join(pieces) == whole[start:stop]
                assert all(pieces)


async def test_an_object_that_is_not_there(tmp_path: Path) -> None:
    signer = UrlSigner("http://here", b"secret-of-the-test-signer", time.time)
    async with FilesystemStorage(tmp_path, signing=signer) as storage:
        await storage.create_bucket("bucket")
        with pytest.raises(ObjectNotFound):
            await find_local_object(storage, "bucket", "none")
