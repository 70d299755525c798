"""Listings of `connector archive`: a table, or one JSON array."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from connector.cli.console import neutralised
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.cli.run import Invocation


json_option = option(
    "--json", "as_array", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON array on standard output."
)


def print_rows(
    invocation: Invocation, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_array: bool
) -> None:
    """Print rows: in JSON with all their fields, or these columns of them as a table."""
    if as_array:
        invocation.console.result(json.dumps(rows))
        return
    table = [columns, *([_shown(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        invocation.console.result(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "-"
    # Here already: the escapes count for the width of the column.
    return "-" if value in (None, "") else neutralised(str(value))
