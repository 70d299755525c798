"""What the commands of `connector archive` share: their options, and the open archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.assembly import Archive

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


def root_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--root`."""
    decorate = option(
        "--root",
        required=True,
        envvar="CONNECTOR_ARCHIVE_ROOT",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The archive's directory.",
    )
    return decorate(function)  # type: ignore[no-any-return]


def archive_output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about what is printed."""
    debug = option("--debug", is_flag=True, help="Show log lines, and the traceback of an unexpected error.")
    quiet = option("--quiet", "-q", is_flag=True, help="Print errors only.")
    return debug(quiet(function))  # type: ignore[no-any-return]


def with_archive(root: Path, job: Callable[[Archive], Awaitable[T]], *, create: bool = False) -> T:
    """Run `job` with the archive below `root`, which must exist unless `create` is given."""
    from connector.archive.assembly import archive_exists, open_archive
    from connector.archive.settings import ArchiveSettings
    from connector.cli.interruption import handle_signals
    from connector.errors import UsageError

    if not create and not archive_exists(root):
        raise UsageError(f"There is no archive in {root}.", hint="`connector archive serve` makes one.")

    async def main() -> T:
        async with open_archive(ArchiveSettings(root)) as archive:
            return await job(archive)

    with handle_signals() as handler:
        return handler.run(main)
