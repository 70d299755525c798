"""Transforms one local file into another, as a transfer of the scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, align_to_segments
from connector.local.files import SourceFile
from connector.local.partial_file import PartialFile
from connector.local.state_folder import FinishedFile, FinishedFiles
from connector.local.targets import check_target, existing
from connector.parts import Part, Parts, split
from connector.recrypt.request import RecryptedFile, RecryptRequest, check_not_shared, compare, is_recorded, origin_of
from connector.transfer import Progress, RunContext

_PIECE = 64 * CIPHER_SEGMENT_SIZE
"""Bytes (4 MiB) that are processed at a time. Smaller pieces would stay in a core's own cache, but one thread writes at
a time, and switching more often costs more than that saves."""


@attrs.frozen
class Extent:
    """The amount of work: `moved` bytes are split into parts, and the result has `made` bytes.

    The first segment starts at byte `shift` of the moved ones.
    """

    moved: int
    made: int
    shift: int = 0


class Transformation(Protocol):
    """Encryption or decryption. Methods block, and `move` is called from several threads, piece by piece."""

    kind: str

    @property
    def name(self) -> str:
        """Identifies the result: two transformations of one name turn the same source into equal files."""

    def begin(self, source: SourceFile) -> Extent:
        """Inspect the source before anything is written."""

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, transform and write a part, or a piece of one, using `buffer`, which has its size."""


@attrs.frozen
class _Files:
    source: SourceFile
    target: PartialFile
    extent: Extent


class Recryption:
    """Transforms one local file, part by part; an unfinished result is removed.

    A result that exists already is not written again. `finished` returns the records of files that earlier runs
    finished in a folder (an absolute path). `similar`: other files of the batch whose targets are the same where names
    are compared without case or in one Unicode form.
    """

    def __init__(
        self,
        request: RecryptRequest,
        transformation: Transformation,
        run: RunContext,
        *,
        overwrite: bool,
        finished: Callable[[str], FinishedFiles],
        label: str = "",
        similar: Sequence[RecryptRequest] = (),
    ) -> None:
        self.label = label or request.path.name
        self._request = request
        self._transformation = transformation
        self._run = run
        self._overwrite = overwrite
        self._finished = finished
        self._similar = similar
        self._source: SourceFile | None = None
        self._files: _Files | None = None
        self._existing: RecryptedFile | None = None

    async def prepare(self) -> None:
        """Do nothing."""

    async def open(self) -> Sequence[Part]:
        """Inspect the source and create the partial file of the result."""
        files = await self._run.in_thread(self._begin)
        if files is None:
            return ()
        self._run.observer.opened(self.label, files.extent.moved)
        return Parts(files.extent.moved, align_to_segments(self._run.part_size))

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, transform and write one part."""
        await self._run.in_thread(self._move_pieces, part, buffer)
        progress(part.size)

    async def finish(self) -> RecryptedFile:
        """Check that the source has not changed and rename the result to its target."""
        if self._existing is not None:
            return self._existing
        files = self._opened
        await self._run.in_thread(files.source.check_unchanged)
        await self._run.in_thread(lambda: files.target.complete(overwrite=self._overwrite, before_rename=self._record))
        return RecryptedFile(self._request.path, self._request.target, files.extent.made)

    async def close(self) -> None:
        """Close both files."""
        if self._source is not None:
            await self._run.in_thread(self._source.close)
        if self._files is not None:
            await self._run.in_thread(self._files.target.close)

    @property
    def _opened(self) -> _Files:
        assert self._files is not None, "open() comes first"
        return self._files

    def _begin(self) -> _Files | None:
        """Inspect the source and create the partial file of the result; `None` if that exists already."""
        request = self._request
        if request.error is not None:
            raise request.error
        self._source = source = SourceFile.open(request.path)
        found = existing(request.target)
        if found is not None:
            check_not_shared(request, self._similar)
        if found is not None and is_recorded(
            request.target, found, self._find_record(), self._origin(), overwrite=self._overwrite
        ):
            self._existing = RecryptedFile(request.path, request.target, found.st_size, "record")
            return None
        extent = self._transformation.begin(source)
        if found is not None and not self._overwrite:
            compared = compare(request, source.state, found, extent.made)
            self._existing = RecryptedFile(request.path, request.target, found.st_size, compared)
            return None
        check_target(request.target, overwrite=self._overwrite)
        target = PartialFile.open(request.target, size=extent.made, kind=self._transformation.kind, facts=None)
        self._files = _Files(source, target, extent)
        return self._files

    def _origin(self) -> str:
        assert self._source is not None, "open() comes first"
        return origin_of(self._request.path, self._source.state, self._transformation.name)

    def _find_record(self) -> FinishedFile | None:
        return self._finished(self._folder()).find(self._request.target.name)

    def _record(self, written: os.stat_result) -> None:
        record = FinishedFile(written.st_size, written.st_mtime_ns, None, self._origin())
        self._finished(self._folder()).add(record, self._request.target.name)

    def _folder(self) -> str:
        return os.path.realpath(self._request.target.parent)

    def _move_pieces(self, part: Part, buffer: memoryview) -> None:
        files = self._opened
        for piece in split(part, _PIECE, offset=files.extent.shift):
            self._transformation.move(piece, buffer[: piece.size], files.source, files.target)
