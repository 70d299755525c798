"""One run of one command: settings, console and secrets for it, trio around it, an exit code out of it.

This is the one place that turns errors into exit codes (docs/exit-codes.md) and sentences.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click
import trio

from connector.cli.console import Console
from connector.cli.interruption import Interrupted, run_interruptible
from connector.cli.progress import Progress, display_of
from connector.cli.report import Report, ReportingObserver, error_fields
from connector.cli.secrets import Secrets
from connector.cli.surroundings import Surroundings
from connector.config import Settings, config_place, load_settings
from connector.errors import ConnectorError, UsageError
from connector.transfer.failure import as_connector_error, leaves
from connector.transfer.observer import Observer
from connector.transfer.outcome import Outcome

T = TypeVar("T")

INTERRUPTED = 130

GO_ON = "Run the same command again to go on where it stopped."


@attrs.frozen
class Invocation:
    """What a command works with."""

    settings: Settings
    console: Console
    secrets: Secrets
    surroundings: Surroundings

    def transfer(
        self,
        job: Callable[[Observer], Awaitable[Sequence[Outcome[Any]]]],
        *,
        verb: str,
    ) -> int:
        """Run a job over files, report each as it ends, and return the exit code.

        ``verb`` says what a finished file is ("downloaded"). The code is the highest among the failed files, so that
        one failure among many is never 0.
        """
        report = Report(self.console, verb=verb)

        async def reported(progress: Progress) -> Sequence[Outcome[Any]]:
            return await job(ReportingObserver(progress, report))

        return report.conclude(self.wait_for(reported))

    def wait_for(
        self,
        job: Callable[[Progress], Awaitable[T]],
        *,
        last_words: Callable[[], None] = lambda: None,
    ) -> T:
        """Run ``job`` under trio with progress and signal handling; return its result or raise its error.

        ``last_words`` is called when a second signal ends the process at once.
        """
        around = self.surroundings
        display = display_of(around.err_is_terminal, around.environment)
        progress = Progress(self.console, display=display, clock=around.clock)

        def on_first() -> None:
            self.console.complain("Stopping; what is done so far is kept. Press Ctrl-C again to force quit.")

        try:
            return run_interruptible(
                lambda: _beside_ticks(job, progress, self.console), on_first=on_first, last_words=last_words
            )
        finally:
            progress.close()


async def _beside_ticks(job: Callable[[Progress], Awaitable[T]], progress: Progress, console: Console) -> T:
    async def ticks() -> None:
        while True:
            await trio.sleep(progress.every)
            try:
                progress.tick()
            except Exception as error:
                console.trace(error)
                return  # what is shown beside the work is no reason to end it

    result: list[T] = []
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks)
        try:
            result.append(await job(progress))
        except Exception as error:
            errors.append(error)  # Raised outside, where no nursery wraps it into a group.
        nursery.cancel_scope.cancel()
    if errors:
        raise errors[0]
    return result[0]


def run(ctx: click.Context, work: Callable[[Invocation], int], *, go_on: str = GO_ON) -> None:
    """Do the work of a command and leave click with its exit code.

    ``ctx.obj`` may hold :class:`Surroundings` to use instead of the real ones. ``go_on`` is what an interrupted
    user is told.
    """
    around = ctx.obj if isinstance(ctx.obj, Surroundings) else Surroundings()
    options: Mapping[str, Any] = ctx.params
    console = Console(around.out, around.err, quiet=bool(options.get("quiet")), as_json=bool(options.get("as_json")))
    console.debug = bool(options.get("debug"))
    _set_up_logging(console)
    ctx.exit(console.exit_code(_guarded(lambda: work(_invocation(options, around, console)), console, go_on)))


def _invocation(options: Mapping[str, Any], around: Surroundings, console: Console) -> Invocation:
    path, named = config_place(options.get("config"), around.environment)
    settings = load_settings(options, around.environment, _read_config(path, named), config_name=str(path))
    return Invocation(settings, console, Secrets(settings, around, console), around)


def _read_config(path: Path, named: bool) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError | NotADirectoryError):
            return None
        raise UsageError(f"The configuration file {path} cannot be read: {error.strerror}.") from None


def _guarded(work: Callable[[], int], console: Console, go_on: str) -> int:
    try:
        return work()
    except Interrupted as interrupted:
        console.complain(f"{interrupted} {go_on}".rstrip())
        return interrupted.exit_code
    except (KeyboardInterrupt, click.Abort):
        console.complain("Interrupted.")
        return INTERRUPTED
    except Exception as error:
        console.trace(error)
        errors = [as_connector_error(one) for one in leaves(error)]
        for one in errors:
            console.complain(f"Error: {one}")
            console.record({"ok": False, "error": error_fields(one)})
        codes = [one.exit_code for one in errors]
        return ConnectorError.exit_code if ConnectorError.exit_code in codes else max(codes)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.complain(f"{record.levelname.lower()} {record.name}: {record.getMessage()}")
            if record.exc_info and record.exc_info[1] is not None:
                self._console.trace(record.exc_info[1])
        except Exception:
            self.handleError(record)


def _set_up_logging(console: Console) -> None:
    # crypt4gh logs session keys and private keys at DEBUG level; nothing may ever hear it.
    silenced = logging.getLogger("crypt4gh")
    silenced.setLevel(logging.CRITICAL + 1)
    silenced.propagate = False
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("crypt4gh."):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ConsoleHandler)]:
        root.removeHandler(handler)
    root.addHandler(_ConsoleHandler(console))
    root.setLevel(logging.DEBUG if console.debug else logging.WARNING)
    # Their DEBUG lines are frames and header bytes: much, of no use, and with tokens in unknown shapes.
    for name in ("httpcore", "h11", "hpack"):
        logging.getLogger(name).setLevel(logging.INFO)
    # Its INFO lines are whole URLs, and a presigned one is a key to a file.
    logging.getLogger("httpx").setLevel(logging.WARNING)
