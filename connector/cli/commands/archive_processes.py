"""`connector archive serve` and `work`: the processes of an archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from connector.cli.commands.archive_options import archive_command, find_config
from connector.cli.options import TUNING, GroupedOption, option

if TYPE_CHECKING:
    import trio

    from connector.archive.assembly import Archive
    from connector.archive.child_process import ChildCommand
    from connector.archive.models import JobKind
    from connector.cli.run import Invocation

_SERVICES = ("wkvs", "wps", "ucs", "dcs")
_LOG_PATIENCE = 1.0
"""Seconds for which a log that is not read may hold up a process."""
_AT_LEAST_ONE = click.IntRange(min=1)


def _setting(name: str, kind: Any, text: str, **more: Any) -> Callable[..., Any]:
    """An option for a key of the configuration, with the environment variable of that."""
    return option(
        name, type=kind, group=TUNING, envvar=_variable(name.lstrip("-").replace("-", "_")), help=text, **more
    )


def _variable(key: str) -> str:
    # The alias of the hub of an embedded archive is no key of a configuration.
    return "CONNECTOR_STORAGE_ALIAS" if key == "storage_alias" else f"CONNECTOR_ARCHIVE_{key.upper()}"


def _read_services(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    named = _SERVICES if value is None else tuple(name.strip() for name in value.split(","))
    for name in named:
        if name not in _SERVICES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_SERVICES)}.")
    return named


class _PortOption(GroupedOption):
    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Ignore the URL that Kubernetes puts into this variable where a service is called `connector`."""
        value = super().resolve_envvar_value(ctx)
        return None if value and "://" in value else value


_start_timeout_option = option(
    "--start-timeout",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a database or storage that does not answer at the start.",
)


@archive_command()
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
@option(
    "--worker/--no-worker",
    default=None,
    help="Whether to run a worker as well, in a process of its own. Default: with --root.",
)
@_start_timeout_option
@_setting("--public-url", click.STRING, "How clients reach the archive, if not by host and port.", metavar="URL")
@_setting("--storage-alias", click.STRING, "With --root: the name of the data hub. Default: embedded.", metavar="ALIAS")
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
def serve(
    invocation: Invocation,
    /,
    host: str,
    port: int,
    only: tuple[str, ...],
    worker: bool | None,
    start_timeout: float,
    **options: Any,
) -> None:
    """Serve an archive until interrupted; an embedded one is made if there is none.

    Prints one line with the URL of the well-known values, which clients need, when it is ready.
    """
    from connector.archive.runner import run_archive

    invocation.console.err.patience = _LOG_PATIENCE
    config = find_config(options)
    beside = (
        _worker_beside(options, start_timeout) if (options["root"] is not None if worker is None else worker) else None
    )

    async def serve_until(stop: trio.Event, started: Callable[[], None]) -> None:
        def ready(url: str) -> None:
            started()
            invocation.console.result(f"Archive ready at {url}")

        await run_archive(
            config,
            host=host,
            port=port,
            services=only,
            worker=beside,
            patience=start_timeout,
            ready=ready,
            stop=stop,
        )

    _run_until_signalled(serve_until)


def _worker_beside(options: Mapping[str, Any], start_timeout: float) -> ChildCommand:
    """The command of the worker that `serve` runs: for the same archive, with the same settings."""
    from connector.archive.child_process import ChildCommand

    named = [(name, options[key]) for name, key in (("--root", "root"), ("--config", "config_file"))]
    command = [sys.executable, "-m", "connector", "archive", "work", "--until-input-ends"]
    command += [str(word) for name, value in named if value is not None for word in (name, value)]
    command += ["--start-timeout", str(start_timeout)]
    command += ["--debug"] if options.get("debug") else []
    given = {key: value for key, value in options.items() if value is not None and key not in ("debug", "quiet")}
    settings = {_variable(key): str(value) for key, value in given.items() if key not in ("root", "config_file")}
    return ChildCommand(command, {**os.environ, **settings})


@archive_command()
@option(
    "--kinds",
    metavar="KINDS",
    help="Do only jobs of these kinds, separated by commas: see `connector archive jobs`.",
)
@_start_timeout_option
@option("--until-input-ends", is_flag=True, hidden=True, envvar=None)
def work(
    invocation: Invocation, /, kinds: str | None, start_timeout: float, until_input_ends: bool, **_: object
) -> None:
    """Work for an archive until interrupted: interrogate, register and stage files, and clean up.

    Any number of workers may run, on any host; one that is interrupted gives its jobs back.
    """
    invocation.console.err.patience = _LOG_PATIENCE
    config, wanted = find_config(), None if kinds is None else _read_kinds(kinds)

    async def work_until(stop: trio.Event, started: Callable[[], None]) -> None:
        from connector.archive.availability import open_when_available

        async with open_when_available(config, patience=start_timeout) as archive:
            started()
            await _work(invocation, archive, wanted, stop, until_input_ends)

    _run_until_signalled(work_until)


def _read_kinds(text: str) -> list[JobKind]:
    from connector.archive.models import JobKind
    from connector.errors import UsageError

    known: dict[str, JobKind] = {kind: kind for kind in get_args(JobKind)}
    try:
        return [known[name.strip()] for name in text.split(",")]
    except KeyError as error:
        hint = f"There are {', '.join(known)}."
        raise UsageError(f"--kinds: there are no jobs of the kind {error}.", hint=hint) from None


async def _work(
    invocation: Invocation,
    archive: Archive,
    kinds: Sequence[JobKind] | None,
    stop: trio.Event,
    until_input_ends: bool,
) -> None:
    import trio

    from connector.archive import child_process
    from connector.archive.leftovers import remove_leftovers, settle

    async with trio.open_nursery() as nursery:
        await settle(archive.hubs)
        nursery.start_soon(remove_leftovers, archive.hubs)
        nursery.start_soon(archive.make_worker(kinds).run)
        if until_input_ends:
            nursery.start_soon(child_process.until_input_ends, stop.set)
        invocation.console.result("Worker ready")
        await stop.wait()
        nursery.cancel_scope.cancel()


def _run_until_signalled(job: Callable[[trio.Event, Callable[[], None]], Awaitable[None]]) -> None:
    """Run a job that ends when its event is set, which any signal does; until it has started it is cancelled."""
    import trio

    from connector.cli.interruption import handle_signals, handled_signals

    async def until_signalled() -> None:
        stop, started = trio.Event(), trio.Event()
        with trio.open_signal_receiver(*handled_signals()) as signals:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    async for _ in signals:
                        stop.set()
                        if not started.is_set():
                            nursery.cancel_scope.cancel()

                nursery.start_soon(watch)
                await job(stop, started.set)
                nursery.cancel_scope.cancel()

    with handle_signals() as handler:
        handler.run(until_signalled)
