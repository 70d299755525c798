"""Making one local file of another, as a transfer of the scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, align_to_segments
from connector.local.finished import FinishedFile, FinishedFiles
from connector.local.partial_file import PartialFile, check_target, existing
from connector.local.source_file import SourceFile
from connector.parts import Part, Parts, split
from connector.recrypt.request import RecryptedFile, RecryptRequest, compare, known, origin_of
from connector.transfer import Progress, RunContext

_PIECE = 64 * CIPHER_SEGMENT_SIZE
"""Bytes (4 MiB) that are read, treated and written before the next ones are. Smaller ones would stay in a core's own
cache, but one thread writes at a time, and taking turns more often costs more than that saves."""


@attrs.frozen
class Extent:
    """How much there is to do: `moved` bytes are cut in parts, and a file of `made` bytes comes out.

    The first segment starts `shift` bytes into what is moved.
    """

    moved: int
    made: int
    shift: int = 0


class Recipe(Protocol):
    """What is done to the bytes. Methods block, and `move` is called from several threads, piece by piece."""

    kind: str

    @property
    def name(self) -> str:
        """Tells results of different recipes apart: of the same source, two recipes of one name make equal ones."""

    def begin(self, source: SourceFile) -> Extent:
        """Look at the source before anything is written."""

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, treat and write a part, or a piece of one, using `buffer`, which has its size."""


@attrs.frozen
class _Begun:
    source: SourceFile
    target: PartialFile
    extent: Extent


class Recryption:
    """Carries one local file through a recipe, part by part; an unfinished result is removed.

    A result that is there already is not made again. `notes` give what earlier runs finished in an absolute folder.
    """

    def __init__(
        self,
        request: RecryptRequest,
        recipe: Recipe,
        run: RunContext,
        *,
        overwrite: bool,
        notes: Callable[[str], FinishedFiles],
        label: str = "",
    ) -> None:
        self.label = label or request.path.name
        self._request = request
        self._recipe = recipe
        self._run = run
        self._overwrite = overwrite
        self._notes = notes
        self._source: SourceFile | None = None
        self._begun: _Begun | None = None
        self._there: RecryptedFile | None = None

    async def prepare(self) -> None:
        """Nothing to prepare."""

    async def open(self) -> Sequence[Part]:
        """Look at the source and begin the file that it becomes."""
        begun = await self._run.in_thread(self._begin)
        if begun is None:
            return ()
        self._run.observer.opened(self.label, begun.extent.moved)
        return Parts(begun.extent.moved, align_to_segments(self._run.part_size))

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, treat and write one part."""
        await self._run.in_thread(lambda: self._move_pieces(part, buffer))
        progress(part.size)

    async def finish(self) -> RecryptedFile:
        """Check that the source stayed the same and give the result its name."""
        if self._there is not None:
            return self._there
        begun = self._opened
        await self._run.in_thread(begun.source.check_unchanged)
        await self._run.in_thread(lambda: begun.target.complete(overwrite=self._overwrite, note=self._note))
        return RecryptedFile(self._request.path, self._request.target, begun.extent.made)

    async def close(self) -> None:
        """Close both files."""
        if self._source is not None:
            await self._run.in_thread(self._source.close)
        if self._begun is not None:
            await self._run.in_thread(self._begun.target.close)

    @property
    def _opened(self) -> _Begun:
        assert self._begun is not None, "open() comes first"
        return self._begun

    def _begin(self) -> _Begun | None:
        """Look at the source and begin its result; `None` if that is there already."""
        request = self._request
        self._source = source = SourceFile.open(request.path)
        there = existing(request.target)
        if there is not None and known(request.target, there, self._found(), self._origin(), overwrite=self._overwrite):
            self._there = RecryptedFile(request.path, request.target, there.st_size, "record")
            return None
        extent = self._recipe.begin(source)
        if there is not None and not self._overwrite:
            compared = compare(request.target, there, extent.made)
            self._there = RecryptedFile(request.path, request.target, there.st_size, compared)
            return None
        check_target(request.target, overwrite=self._overwrite)
        target = PartialFile.open(request.target, size=extent.made, kind=self._recipe.kind, facts=None)
        self._begun = _Begun(source, target, extent)
        return self._begun

    def _origin(self) -> str:
        assert self._source is not None, "it is opened first"
        return origin_of(self._request.path, self._source.state, self._recipe.name)

    def _found(self) -> FinishedFile | None:
        return self._notes(self._folder()).find(self._request.target.name)

    def _note(self, written: os.stat_result) -> None:
        note = FinishedFile(written.st_size, written.st_mtime_ns, None, self._origin())
        self._notes(self._folder()).add(note, self._request.target.name)

    def _folder(self) -> str:
        return os.path.realpath(self._request.target.parent)

    def _move_pieces(self, part: Part, buffer: memoryview) -> None:
        begun = self._opened
        for piece in split(part, _PIECE, offset=begun.extent.shift):
            self._recipe.move(piece, buffer[: piece.size], begun.source, begun.target)
