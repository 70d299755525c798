"""From the words of ``connector upload`` to files with aliases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connector.cli.tsv import LONGEST_LIST, parse_tsv
from connector.errors import UsageError
from connector.local.failures import local_failures
from connector.upload.source import UploadSource


def upload_sources(paths: Sequence[Path], alias: str | None, tsv: Path | None) -> list[UploadSource]:
    """Return what is to be uploaded: the named files, and those of the list.

    Paths in a list are relative to the working folder, as those on the command line are. Raises
    :class:`~connector.errors.UsageError` when nothing is named, or when ``alias`` is given for more than one file.
    """
    if alias is not None and (len(paths) != 1 or tsv is not None):
        raise UsageError("--alias goes with exactly one PATH.", hint="For several files write a list and give --tsv.")
    sources = [UploadSource(path, path.name if alias is None else alias) for path in paths]
    if tsv is not None:
        sources += [UploadSource(Path(row.path), row.alias) for row in parse_tsv(_read(tsv), str(tsv))]
    if not sources:
        raise UsageError("There is nothing to upload.", hint="Name files, or a list of files with --tsv.")
    return sources


def aliases_of(tsv: Path) -> list[str]:
    """Return the aliases in a list of files; the files themselves need not be there."""
    return [row.alias for row in parse_tsv(_read(tsv), str(tsv))]


def _read(tsv: Path) -> bytes:
    with local_failures("read", tsv):
        with tsv.open("rb") as file:
            content = file.read(LONGEST_LIST + 1)
    if len(content) > LONGEST_LIST:
        raise UsageError(f"{tsv} is too long for a list of files.", hint="Is it the data itself?")
    return content
