"""Lists of files (`--tsv`): a path, a tab and an alias in each line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import UsageError
from connector.local.disk import read_small_file
from connector.local.pipes import PIPE

if TYPE_CHECKING:
    from connector.cli.run import Invocation

LONGEST_LIST = 64 * 1024 * 1024
"""Bytes; a larger file is rejected, since it is probably no list."""


def parse_tsv(content: bytes, name: str) -> list[tuple[str, str]]:
    """Return the paths and aliases of a list; blank lines and lines that begin with `#` are ignored.

    `name` is what errors call the list.

    Raises:
        UsageError: That names the line: for a missing or a third column, an empty path or alias, a path or an alias
            that was there before, and for what is not UTF-8.
    """
    rows: list[tuple[str, str]] = []
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
        rows.append((path, alias))
    if not rows:
        raise UsageError(f"{name}: no files in this list.", hint="Each line is a path, one tab, and an alias.")
    return rows


def _what_is_wrong(columns: list[str]) -> str:
    if len(columns) == 1:
        return "there is no alias" if columns[0] else "there is nothing but white space"
    if len(columns) > 2:
        return f"there are {len(columns)} columns instead of 2"
    return "the path is empty" if not columns[0] else "the alias is empty"


def read_tsv(path: Path, descriptor: int | None = None) -> list[tuple[str, str]]:
    """Return the rows of the list in a file, see `parse_tsv`; the files that it names need not exist."""
    return parse_tsv(read_small_file(path, "list of files", limit=LONGEST_LIST, descriptor=descriptor), str(path))


def listed(invocation: Invocation, path: Path) -> list[tuple[str, str]]:
    """Return the rows of a list that a command was given; `-` is standard input, from which no secret is read then."""
    if path != PIPE:
        return read_tsv(path)
    invocation.secrets.input_is_data = True
    return read_tsv(path, invocation.context.input_descriptor)
