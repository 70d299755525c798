"""`connector archive`: run an archive of your own, and administer it, also while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from connector.cli.commands.archive_check import check, upgrade
from connector.cli.commands.archive_grants import grant, grants, revoke
from connector.cli.commands.archive_jobs import jobs
from connector.cli.commands.archive_keys import keys, remove_key, rotate_key
from connector.cli.commands.archive_listings import archive_box, boxes, files, lock, unlock
from connector.cli.commands.archive_options import archive_output_options, find_config, location_options
from connector.cli.options import GroupedOption, option

if TYPE_CHECKING:
    from connector.archive.config import ArchiveConfig
    from connector.cli.run import Invocation


@click.group()
def archive() -> None:
    """Run an archive of your own, and administer it, also while it runs."""


_GRANTS = (grant, grants, revoke)
_FILES = (files, boxes, lock, unlock, archive_box, jobs)
_UPKEEP = (keys, rotate_key, remove_key, check, upgrade)
for _command in (*_GRANTS, *_FILES, *_UPKEEP):
    archive.add_command(_command)


def _setting(name: str, kind: Any, text: str, **more: Any) -> Callable[..., Any]:
    """An option for a key of the configuration, with the environment variable of that."""
    variable = "CONNECTOR_ARCHIVE_" + name.lstrip("-").replace("-", "_").upper()
    return option(name, type=kind, envvar=variable, help=text, **more)


def _read_services(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    named = _SERVICES if value is None else tuple(name.strip() for name in value.split(","))
    for name in named:
        if name not in _SERVICES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_SERVICES)}.")
    return named


_SERVICES = ("wkvs", "wps", "ucs", "dcs")
_AT_LEAST_ONE = click.IntRange(min=1)


class _PortOption(GroupedOption):
    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Ignore the URL that Kubernetes puts into this variable where a service is called `connector`."""
        value = super().resolve_envvar_value(ctx)
        return None if value and "://" in value else value


@archive.command()
@location_options
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option(
    "--port",
    cls=_PortOption,
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port; 0 for any free one.",
)
@option(
    "--only",
    metavar="SERVICES",
    callback=_read_services,
    help="Serve only these of wkvs, wps, ucs and dcs, separated by commas.",
)
@_setting("--public-url", click.STRING, "How clients reach the archive, if not by host and port.", metavar="URL")
@option("--storage-alias", metavar="ALIAS", help="With --root: the name of the data hub. Default: embedded.")
@_setting("--work-order-lifetime", _AT_LEAST_ONE, "How long a work order token lives. Default: 30.", metavar="SECONDS")
@_setting(
    "--token-leeway",
    click.IntRange(min=0),
    "How long a token is accepted after its end, since clocks differ. Default: 10.",
    metavar="SECONDS",
)
@_setting("--url-lifetime", _AT_LEAST_ONE, "How long a presigned URL lives. Default: 60.", metavar="SECONDS")
@_setting(
    "--retry-after",
    _AT_LEAST_ONE,
    "How long clients are told to wait for a file to be staged; by its size, 5 to 300 s, if not given.",
    metavar="SECONDS",
)
@_setting("--staging-delay", click.FloatRange(min=0), "How long staging takes at least. Default: 0.", metavar="SECONDS")
@_setting("--open-uploads", _AT_LEAST_ONE, "Unfinished uploads per box. Default: 5.")
@_setting(
    "--manual-archival",
    click.BOOL,
    "Register files only when a steward archives their box (connector archive archive-box), not by itself.",
    is_flag=True,
    default=None,
)
@archive_output_options
@click.pass_context
def serve(ctx: click.Context, /, host: str, port: int, only: tuple[str, ...], **options: Any) -> None:
    """Serve an archive until interrupted; an embedded one is made if there is none.

    Prints one line with the URL of the well-known values, which clients need, when it is ready.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        return _serve(invocation, find_config(ctx, options), host, port, only)

    run(ctx, work, resume_hint="")


def _serve(invocation: Invocation, config: ArchiveConfig, host: str, port: int, only: tuple[str, ...]) -> int:
    import trio

    from connector.archive.runner import run_archive
    from connector.cli.interruption import handle_signals, handled_signals

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
                await run_archive(config, host=host, port=port, services=only, ready=ready, stop=stop)
                nursery.cancel_scope.cancel()

    with handle_signals() as handler:
        handler.run(until_signalled)
    return 0
