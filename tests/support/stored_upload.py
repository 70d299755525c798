"""The document of an upload as an archive has it, for tests that need one without sending a file."""

from __future__ import annotations

from typing import Any

import attrs

from connector.archive.models import FileUpload
from connector.archive.settings import utc_now
from connector.crypt4gh.segments import HEADER_SIZE, sealed_size
from tests.support.memory_archive import ManualClock


def stored_upload(**facts: Any) -> FileUpload:
    """An open upload of one byte; `facts` are those fields that matter, and the encrypted size follows from them."""
    now = utc_now(ManualClock())
    size = facts.get("decrypted_size", 1)
    upload = FileUpload(
        id="upload",
        box_id="box",
        alias="a.bam",
        state="init",
        storage_alias="embedded",
        upload_id="u",
        decrypted_size=size,
        encrypted_size=HEADER_SIZE + sealed_size(size),
        part_size=5 * 1024**2,
        created=now,
        state_updated=now,
        decrypted_sha256="0" * 64,
    )
    return attrs.evolve(upload, **facts)
