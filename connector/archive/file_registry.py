"""The internal file registry: which files the archive has taken in for good, under which accessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import PurePosixPath

from connector.archive.errors import NoSuchObject
from connector.archive.models import Counter, FileUpload, RegisteredFile
from connector.archive.recently_used import LruCache
from connector.archive.settings import Clock, moment
from connector.crypt4gh.layout import sealed_size
from persistence.documents.protocol import Dao
from persistence.errors import AlreadyExists, NotFound, UniqueViolation

_KNOWN_FILES = 1024
_ACCESSIONS = "accessions"
_COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".bgz", ".zip"})
_MAX_EXTENSION = 10


def file_extension(alias: str) -> str:
    """What a downloaded file should be called behind its accession: ``.bam``, ``.vcf.gz``, or nothing."""
    name = PurePosixPath(alias.replace("\\", "/"))
    if name.suffix == ".c4gh":
        name = name.with_suffix("")
    suffixes = name.suffixes[-2:]
    if len(suffixes) == 2 and suffixes[1].lower() not in _COMPRESSIONS:
        del suffixes[0]
    kept = [s for s in suffixes if len(s) <= _MAX_EXTENSION and s[1:].isascii() and s[1:].isalnum()]
    return "".join(kept) if len(kept) == len(suffixes) else "".join(kept[-1:])


class FileRegistry:
    """Registers files and finds them again."""

    def __init__(self, files: Dao[RegisteredFile], counters: Dao[Counter], *, clock: Clock) -> None:
        self._files = files
        self._counters = counters
        self._clock = clock
        self._last = 0
        # What is registered never changes; it may be removed.
        self._known = LruCache[RegisteredFile](_KNOWN_FILES)
        self._removals = 0

    async def register(self, upload: FileUpload, *, secret_id: str) -> RegisteredFile:
        """Enter an interrogated upload under a new accession; an upload entered before keeps the one it has."""
        assert upload.decrypted_sha256 is not None  # set by the close that every interrogation follows
        file = RegisteredFile(
            accession=await self._next_accession(),
            file_id=upload.id,
            box_id=upload.box_id,
            alias=upload.alias,
            storage_alias=upload.storage_alias,
            object_id=upload.id,
            secret_id=secret_id,
            decrypted_size=upload.decrypted_size,
            encrypted_size=sealed_size(upload.decrypted_size),
            decrypted_sha256=upload.decrypted_sha256,
            registered=moment(self._clock),
        )
        try:
            return await self._files.insert(file)
        except UniqueViolation:
            known = await self.find(upload.id)
            # Removed just now? Then its number is free again.
            return known if known is not None else await self.register(upload, secret_id=secret_id)

    async def find(self, file_id: str) -> RegisteredFile | None:
        """The file that came of this upload, if it is registered."""
        return await self._files.find_one({"file_id": file_id})

    async def remove(self, file_id: str) -> None:
        """Take the file out that came of this upload; it is no error if there is none."""
        file = await self.find(file_id)
        if file is not None:
            with suppress(NotFound):
                await self._files.delete(file.accession)
            self._removals += 1
            self._known.drop(file.accession)

    async def get(self, accession: str) -> RegisteredFile:
        """The file with this accession; raises :class:`~connector.archive.errors.NoSuchObject`."""
        known = self._known.get(accession)
        if known is not None:
            return known
        removals = self._removals
        try:
            file = await self._files.get_by_id(accession)
        except NotFound as error:
            raise no_such_object(accession) from error
        # What was read while one was being removed may be that one.
        return self._known.put(accession, file) if removals == self._removals else file

    def find_all(self) -> AsyncIterator[RegisteredFile]:
        """All registered files in the order of their accessions."""
        return self._files.find_all(sort=[("accession", 1)])

    async def _next_accession(self) -> str:
        # Nobody else counts as long as this process serves the archive, so that the number is mostly known.
        while True:
            with suppress(NotFound):
                taken = await self._counters.compare_and_set(
                    _ACCESSIONS, expected={"value": self._last}, changes={"value": self._last + 1}
                )
                if taken is not None:
                    self._last = max(self._last, taken.value)
                    return f"GHGAF{taken.value:014d}"
            with suppress(AlreadyExists):
                await self._counters.insert(Counter(_ACCESSIONS, 0))
            self._last = (await self._counters.get_by_id(_ACCESSIONS)).value


def no_such_object(accession: str) -> NoSuchObject:
    """The refusal for an accession under which nothing is registered."""
    return NoSuchObject(f"No file with the accession {accession!r}.", object_id=accession)
