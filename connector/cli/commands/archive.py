"""`connector archive`: run an archive of your own, and administer it, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector.cli.commands.archive_grants import grant
from connector.cli.commands.archive_listings import archive_box, boxes, files, lock, unlock
from connector.cli.commands.archive_options import archive_output_options, root_option
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@click.group()
def archive() -> None:
    """Run an archive of your own, and administer it, also while it runs."""


for _command in (grant, files, boxes, lock, unlock, archive_box):
    archive.add_command(_command)


def _seconds(name: str, default: float, text: str, *, whole: bool = True) -> Callable[..., Any]:
    kind = click.IntRange(min=1) if whole else click.FloatRange(min=0)
    return option(name, type=kind, default=default, show_default=True, metavar="SECONDS", help=text)


@archive.command()
@root_option
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0 for any free one.")
@option("--public-url", metavar="URL", help="How clients reach the archive, if not by host and port.")
@option("--storage-alias", default="embedded", show_default=True, help="The name of the archive's data hub.")
@_seconds("--work-order-lifetime", 30, "How long a work order token lives.")
@_seconds("--url-lifetime", 60, "How long a presigned URL lives.")
@option(
    "--retry-after",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="How long clients are told to wait for a file to be staged; by its size, 5 to 300 s, if not given.",
)
@_seconds("--staging-delay", 0.0, "How long staging takes at least.", whole=False)
@option("--open-uploads", type=click.IntRange(min=1), default=5, show_default=True, help="Unfinished uploads per box.")
@option(
    "--manual-archival",
    is_flag=True,
    help="Register files only when a steward archives their box (connector archive archive-box), not by itself.",
)
@archive_output_options
@click.pass_context
def serve(ctx: click.Context, /, root: Path, host: str, port: int, public_url: str | None, **others: Any) -> None:
    """Serve the archive in DIR until interrupted; make it if there is none.

    Prints one line with the URL of the well-known values, which clients need, when it is ready.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        return _serve(invocation, root, host, port, public_url, others)

    run(ctx, work, resume_hint="")


def _serve(
    invocation: Invocation, root: Path, host: str, port: int, public_url: str | None, others: Mapping[str, Any]
) -> int:
    import trio

    from connector.archive.runner import run_archive
    from connector.archive.settings import ArchiveSettings
    from connector.cli.interruption import handle_signals, handled_signals

    names = (
        "storage_alias",
        "work_order_lifetime",
        "url_lifetime",
        "retry_after",
        "staging_delay",
        "open_uploads",
        "manual_archival",
    )
    settings = ArchiveSettings(root, **{name: others[name] for name in names})

    async def until_signalled() -> None:
        stop = trio.Event()
        with trio.open_signal_receiver(*handled_signals()) as signals:

            async def watch() -> None:
                async for _ in signals:
                    stop.set()

            def ready(url: str) -> None:
                invocation.console.result(f"Archive ready at {url}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await run_archive(settings, host=host, port=port, public_url=public_url, ready=ready, stop=stop)
                nursery.cancel_scope.cancel()

    with handle_signals() as handler:
        handler.run(until_signalled)
    return 0
