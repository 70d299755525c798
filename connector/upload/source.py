"""The sources of uploads: local files and their aliases in the box."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import attrs

from connector.crypt4gh.header import is_crypt4gh
from connector.crypt4gh.layout import HEADER_SIZE, sealed_size
from connector.errors import UsageError
from connector.local.names import normalized
from connector.local.source_file import SourceFile
from connector.parts import check_object_size

MAX_ALIAS = 255


@attrs.frozen
class UploadSource:
    """A local file and its alias in the upload box."""

    path: Path = attrs.field(converter=Path)
    alias: str

    @property
    def key(self) -> tuple[str, str]:
        """Its key among the records of finished files."""
        return self.alias, str(self.path.absolute())


def check_sources(sources: Sequence[UploadSource]) -> None:
    """Raise `UsageError` for aliases that are not valid, or that two files share."""
    seen: dict[str, Path] = {}
    for source in sources:
        alias = source.alias
        if not alias.strip() or len(alias) > MAX_ALIAS or any(unicodedata.category(c) in ("Cc", "Cs") for c in alias):
            raise UsageError(
                f"{alias!r} is not a valid alias for {source.path}.",
                hint=f"An alias has 1 to {MAX_ALIAS} characters, none of them control characters; give one by --alias.",
            )
        name = normalized(alias)
        if name in seen:
            raise UsageError(
                f"{seen[name]} and {source.path} would both be called {alias!r} in the box.",
                hint="Give them different aliases, with a TSV file.",
            )
        seen[name] = source.path


def open_source(path: Path) -> SourceFile:
    """Open a file to be sealed and sent. Blocks.

    Raises:
        UsageError: For an empty file (the contract has no room for one), one that is too large for an object and one
            that is encrypted already (it would be sealed twice).
        LocalError: If it cannot be read.
    """
    file = SourceFile.open(path)
    try:
        if file.state.size == 0:
            raise UsageError(f"{path} is empty.", hint="An archive accepts no empty files; leave it out.")
        check_object_size(HEADER_SIZE + sealed_size(file.state.size))
        head = bytearray(min(8, file.state.size))
        file.read_into(0, [memoryview(head)])
        if is_crypt4gh(bytes(head)):
            raise UsageError(
                f"{path} is encrypted with Crypt4GH already.",
                hint="Files are encrypted while they are uploaded: give the decrypted file (see connector decrypt).",
            )
    except BaseException:
        file.close()
        raise
    return file
