"""The internal file registry: the archived files and their accessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import PurePosixPath

import attrs

from connector.archive.database import Database
from connector.archive.errors import NoSuchObject
from connector.archive.models import Counter, FileUpload, RegisteredFile
from connector.archive.settings import Clock, utc_now
from connector.crypt4gh.segments import sealed_size
from persistence.errors import AlreadyExists, NotFound

_ACCESSIONS = "accessions"
_COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".bgz", ".zip"})
_MAX_EXTENSION = 10


def file_extension(alias: str) -> str:
    """The file name extension of a downloaded file, after its accession: `.bam`, `.vcf.gz`, or nothing."""
    name = PurePosixPath(alias.replace("\\", "/"))
    if name.suffix == ".c4gh":
        name = name.with_suffix("")
    suffixes = name.suffixes[-2:]
    if len(suffixes) == 2 and suffixes[1].lower() not in _COMPRESSIONS:
        del suffixes[0]
    kept = [s for s in suffixes if len(s) <= _MAX_EXTENSION and s[1:].isascii() and s[1:].isalnum()]
    return "".join(kept) if len(kept) == len(suffixes) else "".join(kept[-1:])


@attrs.frozen(eq=False)
class FileRegistry:
    """Registers files and finds them."""

    _database: Database
    _clock: Clock

    def new_file(self, upload: FileUpload, accession: str) -> RegisteredFile:
        """The file that comes of an interrogated upload."""
        # Set by the close that every interrogation follows, and by the interrogation.
        assert upload.decrypted_sha256 is not None
        assert upload.object_id is not None
        assert upload.secret_id is not None
        return RegisteredFile(
            accession=accession,
            file_id=upload.id,
            box_id=upload.box_id,
            alias=upload.alias,
            storage_alias=upload.storage_alias,
            object_id=upload.object_id,
            secret_id=upload.secret_id,
            decrypted_size=upload.decrypted_size,
            encrypted_size=sealed_size(upload.decrypted_size),
            decrypted_sha256=upload.decrypted_sha256,
            registered=utc_now(self._clock),
        )

    async def next_accession(self) -> str:
        """An accession that no file has had yet."""
        counters = self._database.counters
        while True:
            with suppress(NotFound):
                counter = await counters.compare_and_set(_ACCESSIONS, expected={}, increments={"value": 1})
                assert counter is not None, "nothing is expected, so nothing differs"
                return f"GHGAF{counter.value:014d}"
            with suppress(AlreadyExists):
                await counters.insert(Counter(_ACCESSIONS, 0))

    async def get(self, accession: str) -> RegisteredFile:
        """Return the file with this accession.

        Raises:
            NoSuchObject: There is none.
        """
        try:
            return await self._database.files.get_by_id(accession)
        except NotFound as error:
            raise no_such_object(accession) from error

    def find_all(self) -> AsyncIterator[RegisteredFile]:
        """All registered files in the order of their accessions."""
        return self._database.files.find_all(sort=[("accession", 1)])


def no_such_object(accession: str) -> NoSuchObject:
    """The refusal for an accession under which nothing is registered."""
    return NoSuchObject(f"No file with the accession {accession!r}.", object_id=accession)
