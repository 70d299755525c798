"""The sources of `connector upload`, from its arguments and lists of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from connector.errors import UsageError
from connector.local.disk import read_small_file
from connector.upload.journals import UploadSource

LONGEST_LIST = 64 * 1024 * 1024
"""Bytes; a larger file is rejected, since it is probably no list."""


@attrs.frozen
class Row:
    """One line of a list: a path as written, the alias, and the number of the line."""

    path: str
    alias: str
    line: int


def parse_tsv(content: bytes, name: str) -> list[Row]:
    """Return the rows of a list; blank lines and lines that begin with `#` are ignored.

    `name` is what errors call the list.

    Raises:
        UsageError: That names the line: for a missing or a third column, an empty path or alias, a path or an alias
            that was there before, and for what is not UTF-8.
    """
    rows: list[Row] = []
    paths: dict[str, int] = {}
    aliases: dict[str, int] = {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        where = f"{name}, line {number}"
        try:
            text = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            raise UsageError(f"{where}: not UTF-8 text.") from None
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        columns = [column.strip() for column in text.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise UsageError(f"{where}: {_what_is_wrong(columns)}.", hint="Each line is a path, one tab, and an alias.")
        path, alias = columns
        if "\0" in path:
            raise UsageError(f"{where}: a path cannot hold a NUL character.")
        for kind, value, seen in (("path", path, paths), ("alias", alias, aliases)):
            if value in seen:
                raise UsageError(f"{where}: the {kind} {value!r} is in line {seen[value]} already.")
            seen[value] = number
        rows.append(Row(path, alias, number))
    if not rows:
        raise UsageError(f"{name}: no files in this list.", hint="Each line is a path, one tab, and an alias.")
    return rows


def _what_is_wrong(columns: list[str]) -> str:
    if len(columns) == 1:
        return "there is no alias" if columns[0] else "there is nothing but white space"
    if len(columns) > 2:
        return f"there are {len(columns)} columns instead of 2"
    return "the path is empty" if not columns[0] else "the alias is empty"


def upload_sources(paths: Sequence[Path], alias: str | None, tsv: Path | None) -> list[UploadSource]:
    """Return what is to be uploaded: the named files, and those of the list.

    Paths in a list are relative to the working folder, as those on the command line are. Raises
    `UsageError` when nothing is named, or when `alias` is given for more than one file.
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
    """Return the aliases in a list of files; the files themselves need not exist."""
    return [row.alias for row in parse_tsv(_read(tsv), str(tsv))]


def _read(tsv: Path) -> bytes:
    return read_small_file(tsv, "list of files", limit=LONGEST_LIST)
