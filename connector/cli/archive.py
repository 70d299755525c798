"""``connector archive``: run an archive of your own, and administer it, also while it runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.assembly import Archive
    from connector.archive.models import BoxState
    from connector.cli.run import Invocation

T = TypeVar("T")


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes, with or without a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse ``10GiB`` and the like, in the words of the settings."""
        from connector.config import parse_size
        from connector.errors import UsageError

        try:
            return parse_size(str(value))
        except (UsageError, ValueError) as error:
            self.fail(str(error), param, ctx)


def _root_option(function: Callable[..., Any]) -> Callable[..., Any]:
    decorate = option(
        "--root",
        required=True,
        envvar="CONNECTOR_ARCHIVE_ROOT",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The archive's directory.",
    )
    return decorate(function)  # type: ignore[no-any-return]


def _talk_options(function: Callable[..., Any]) -> Callable[..., Any]:
    debug = option("--debug", is_flag=True, help="Show log lines, and the traceback of an unexpected error.")
    quiet = option("--quiet", "-q", is_flag=True, help="Print errors only.")
    return debug(quiet(function))  # type: ignore[no-any-return]


def _seconds(name: str, default: float, text: str, *, whole: bool = True) -> Callable[..., Any]:
    kind = click.IntRange(min=1) if whole else click.FloatRange(min=0)
    return option(name, type=kind, default=default, show_default=True, metavar="SECONDS", help=text)


@click.group()
def archive() -> None:
    """Run an archive of your own, and administer it, also while it runs."""


@archive.command()
@_root_option
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0 for any free one.")
@option("--public-url", metavar="URL", help="How clients reach the archive, if not by host and port.")
@option("--storage-alias", default="embedded", show_default=True, help="The name of the archive's data hub.")
@_seconds("--work-order-lifetime", 30, "How long a work order token lives.")
@_seconds("--url-lifetime", 60, "How long a presigned URL lives.")
@_seconds("--retry-after", 1, "How long clients are told to wait for a file to be staged.")
@_seconds("--staging-delay", 0.0, "How long staging takes at least.", whole=False)
@option("--open-uploads", type=click.IntRange(min=1), default=5, show_default=True, help="Unfinished uploads per box.")
@_talk_options
@click.pass_context
def serve(ctx: click.Context, /, root: Path, host: str, port: int, public_url: str | None, **others: Any) -> None:
    """Serve the archive in DIR until interrupted; make it if there is none.

    Prints one line with the URL of the well-known values, which clients need, when it is ready.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        return _serve(invocation, root, host, port, public_url, others)

    run(ctx, work, go_on="")


def _serve(
    invocation: Invocation, root: Path, host: str, port: int, public_url: str | None, others: Mapping[str, Any]
) -> int:
    import signal

    import trio

    from connector.archive.runner import run_archive
    from connector.archive.settings import ArchiveSettings

    names = (
        "storage_alias",
        "work_order_lifetime",
        "url_lifetime",
        "retry_after",
        "staging_delay",
        "open_uploads",
    )
    settings = ArchiveSettings(root, **{name: others[name] for name in names})

    async def until_signalled() -> None:
        stop = trio.Event()
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def watch() -> None:
                async for _ in signals:
                    stop.set()

            def ready(url: str) -> None:
                invocation.console.result(f"Archive ready at {url}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await run_archive(settings, host=host, port=port, public_url=public_url, ready=ready, stop=stop)
                nursery.cancel_scope.cancel()

    trio.run(until_signalled, strict_exception_groups=True)
    return 0


@archive.group()
def grant() -> None:
    """Give somebody access; the access token is the last line of standard output."""


def _key_option(function: Callable[..., Any]) -> Callable[..., Any]:
    decorate = option(
        "--public-key",
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The user's Crypt4GH public key.",
    )
    return decorate(function)  # type: ignore[no-any-return]


@grant.command("upload")
@_root_option
@_key_option
@option("--title", default="", help="What the box is for.")
@option("--max-size", type=_Size(), metavar="SIZE", help="Bytes of plaintext that the box may hold.")
@option("--storage-alias", default="embedded", show_default=True, help="The data hub whose archive the box is in.")
@option("--box", metavar="ID", help="Give access to this box instead of a new one.")
@_talk_options
@click.pass_context
def grant_upload(
    ctx: click.Context,
    /,
    root: Path,
    public_key: Path,
    title: str,
    max_size: int | None,
    storage_alias: str,
    box: str | None,
    **_: object,
) -> None:
    """Let the owner of a key upload into a box."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin
        from connector.local.key_files import read_public_key

        key = read_public_key(public_key)

        async def job(archive: Archive) -> str:
            granted = await admin.grant_upload(
                archive, key, title=title, max_size=max_size, storage_alias=storage_alias, box_id=box
            )
            invocation.console.tell(f"Upload into box {granted.package.box_id}, until {granted.package.expires:%F}.")
            return granted.access_token

        _print_token(_with_archive(root, job, create=True))
        return 0

    run(ctx, work, go_on="")


@grant.command("download")
@_root_option
@_key_option
@option("--all", "everything", is_flag=True, envvar=None, show_envvar=False, help="All registered files.")
@_talk_options
@click.argument("accessions", nargs=-1, metavar="[ACCESSION]...")
@click.pass_context
def grant_download(
    ctx: click.Context, /, root: Path, public_key: Path, everything: bool, accessions: tuple[str, ...], **_: object
) -> None:
    """Let the owner of a key download files."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin
        from connector.errors import UsageError
        from connector.local.key_files import read_public_key

        if everything == bool(accessions):
            raise UsageError("Which files?", hint="Name their accessions, or give --all.")
        key = read_public_key(public_key)

        async def job(archive: Archive) -> str:
            granted = await admin.grant_download(archive, key, None if everything else accessions)
            count = len(granted.package.files or {})
            invocation.console.tell(f"Download of {count} file(s), until {granted.package.expires:%F}.")
            return granted.access_token

        _print_token(_with_archive(root, job))
        return 0

    run(ctx, work, go_on="")


@archive.command()
@_root_option
@option("--uploads", is_flag=True, envvar=None, show_envvar=False, help="Also files that are not registered yet.")
@option("--json", "as_array", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON array on standard output.")
@_talk_options
@click.pass_context
def files(ctx: click.Context, /, root: Path, uploads: bool, as_array: bool, **_: object) -> None:
    """List the registered files."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        rows = _with_archive(root, functools.partial(admin.list_files, uploads=uploads))
        columns = ("accession", "state", "decrypted_size", "sha256", "box", "alias")
        _print_rows(invocation, rows, columns, as_array=as_array)
        return 0

    run(ctx, work, go_on="")


@archive.command()
@_root_option
@option("--json", "as_array", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON array on standard output.")
@_talk_options
@click.pass_context
def boxes(ctx: click.Context, /, root: Path, as_array: bool, **_: object) -> None:
    """List the upload boxes and the states of the uploads in them."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        rows = _with_archive(root, admin.list_boxes)
        _print_rows(invocation, rows, ("box", "state", "size", "max_size", "uploads", "title"), as_array=as_array)
        return 0

    run(ctx, work, go_on="")


@archive.command()
@_root_option
@_talk_options
@click.argument("box")
@click.pass_context
def lock(ctx: click.Context, /, root: Path, box: str, **_: object) -> None:
    """Lock a box: nothing goes in any more."""
    _set_box_state(ctx, root, box, "locked")


@archive.command()
@_root_option
@_talk_options
@click.argument("box")
@click.pass_context
def unlock(ctx: click.Context, /, root: Path, box: str, **_: object) -> None:
    """Open a locked box again."""
    _set_box_state(ctx, root, box, "open")


def _set_box_state(ctx: click.Context, root: Path, box: str, state: BoxState) -> None:
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        changed = _with_archive(root, lambda archive: admin.set_box_state(archive, box, state))
        invocation.console.tell(f"The box {changed.id} is {changed.state}.")
        return 0

    run(ctx, work, go_on="")


def _with_archive(root: Path, job: Callable[[Archive], Awaitable[T]], *, create: bool = False) -> T:
    """Run ``job`` with the archive below ``root``, which must exist unless ``create`` is given."""
    import trio

    from connector.archive.assembly import archive_exists, open_archive
    from connector.archive.settings import ArchiveSettings
    from connector.errors import UsageError

    if not create and not archive_exists(root):
        raise UsageError(f"There is no archive in {root}.", hint="`connector archive serve` makes one.")

    async def main() -> T:
        async with open_archive(ArchiveSettings(root)) as archive:
            return await job(archive)

    return trio.run(main)


def _print_token(token: str) -> None:
    # Past the console, which hides whatever looks like a token: this one was asked for.
    click.echo(token)


def _print_rows(
    invocation: Invocation, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_array: bool
) -> None:
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
    return "-" if value in (None, "") else str(value)
