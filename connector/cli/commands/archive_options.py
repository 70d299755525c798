"""What the commands of `connector archive` share: how they name the archive, open it, and print."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from connector.cli.console import neutralised
from connector.cli.options import OUTPUT, WHERE, LocalPath, all_of, command, option

if TYPE_CHECKING:
    from connector.archive.assembly import Archive
    from connector.archive.config import ArchiveConfig
    from connector.cli.run import Invocation

COMMANDLINE = click.core.ParameterSource.COMMANDLINE
T = TypeVar("T")


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes, with or without a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse `10GiB` and the like, in the words of the settings."""
        from connector.config import parse_size
        from connector.errors import UsageError

        try:
            return parse_size(str(value))
        except (UsageError, ValueError) as error:
            self.fail(str(error), param, ctx)


_location_options = all_of(
    option(
        "--root",
        group=WHERE,
        envvar="CONNECTOR_ARCHIVE_ROOT",
        type=LocalPath(file_okay=False),
        metavar="DIR",
        help="The directory of an embedded archive.",
    ),
    option(
        "--config",
        "config_file",
        group=WHERE,
        envvar="CONNECTOR_ARCHIVE_CONFIG",
        type=LocalPath(dir_okay=False),
        metavar="FILE",
        help="The configuration of an archive (archive.toml).",
    ),
)

_output_options = all_of(
    option("--debug", is_flag=True, group=OUTPUT, help="Show log lines, and the traceback of an unexpected error."),
    option("--quiet", "-q", is_flag=True, group=OUTPUT, help="Print errors only."),
)


def archive_command(name: str | None = None) -> Callable[[Callable[..., int | None]], click.Command]:
    """Return the decorator for a command about an archive, which `--root` or `--config` names."""
    decorate = command(name, output=_output_options, resume_hint="")
    return lambda function: decorate(_location_options(function))


def find_config(options: Mapping[str, Any] | None = None) -> ArchiveConfig:
    """Read the configuration that `--config` of the present command names, or that `--root` stands for.

    Args:
        options: Values of other options by the name of their key in the configuration; None means not given.

    Raises:
        UsageError: Neither is given, or both are; or the configuration is not valid.
        LocalError: It cannot be read.
    """
    from connector.archive.config_file import embedded_config, read_config
    from connector.errors import UsageError

    ctx = click.get_current_context()
    root, file = ctx.params["root"], ctx.params["config_file"]
    if root is not None and file is not None:
        # What is typed takes precedence over what the environment holds.
        typed = [name for name in ("root", "config_file") if ctx.get_parameter_source(name) is COMMANDLINE]
        if len(typed) != 1:
            raise UsageError("--root and --config name two archives.", hint="Leave one out.")
        root, file = (root, None) if typed == ["root"] else (None, file)
    if file is not None:
        return read_config(file, options=options)
    if root is None:
        raise UsageError("Which archive?", hint="Give --root DIR for an embedded one, or --config FILE.")
    return embedded_config(root, options=options)


def find_archive() -> ArchiveConfig:
    """Read the configuration of an archive that exists.

    Raises:
        UsageError: As `find_config`, or there is no archive.
        LocalError: As `find_config`.
    """
    from connector.archive.assembly import archive_exists
    from connector.errors import UsageError

    config = find_config()
    if not archive_exists(config):
        raise UsageError(
            f"There is no archive in {config.documents.path.parent}.",  # type: ignore[union-attr]
            hint="`connector archive serve` makes one.",
        )
    return config


def with_archive(job: Callable[[Archive], Awaitable[T]], *, create: bool = False) -> T:
    """Run `job` with the archive that the present command names; it must exist unless `create` is given."""
    from connector.archive.assembly import open_archive
    from connector.archive.providers import opening
    from connector.cli.interruption import handle_signals

    config = find_config() if create else find_archive()

    async def main() -> T:
        async with open_archive(config, create=create) as archive:
            with opening("The archive's database or storage"):
                return await job(archive)

    with handle_signals() as handler:
        return handler.run(main)


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
